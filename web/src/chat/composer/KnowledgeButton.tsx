import { Icon } from "../../ui/Icon";
import { showKnowledge } from "../knowledge";
import { knowledge } from "../thread";
import { t } from "../words";

/** Which knowledge bases the answers of this conversation draw on, and how many there are. */
export function KnowledgeButton() {
  const count = knowledge.value.length;
  const label = count > 0 ? t.value.knowledgeChosen(count) : t.value.knowledge;
  return (
    <button type="button" class={count > 0 ? "quiet word wished on" : "quiet"} aria-haspopup="dialog" aria-label={label} title={label} onClick={showKnowledge}>
      <Icon name="book" />
      {count > 0 && <span>{count}</span>}
    </button>
  );
}
