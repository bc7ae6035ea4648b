import { t as shell } from "../app/words";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { KnowledgeChoice } from "./KnowledgeChoice";
import { chooseKnowledge, knowledge } from "./thread";
import { t } from "./words";

const MOST = 20; // of one conversation

/** What the open conversation draws on. A choice holds at once, from the next message on. */
export function KnowledgeDialog({ close }: { close: () => void }) {
  const footer = (
    <>
      <span class="grow" />
      <Button kind="primary" onClick={close}>
        {shell.value.done}
      </Button>
    </>
  );
  return (
    <Dialog title={t.value.knowledge} footer={footer} onClose={close}>
      <KnowledgeChoice hint={t.value.knowledgeHint} bare most={MOST} chosen={knowledge.value} onChange={(ids) => void chooseKnowledge(ids)} />
    </Dialog>
  );
}
