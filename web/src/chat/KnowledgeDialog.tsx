import { useEffect, useState } from "preact/hooks";
import { t as shell } from "../app/words";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { KnowledgeChoice } from "./KnowledgeChoice";
import { tell } from "./list";
import { loadAssistant } from "./pages/assistant";
import { projects } from "./projects";
import { chooseKnowledge, conversation, knowledge, seed } from "./thread";
import { t } from "./words";

const MOST = 20; // of one conversation

/** What the open conversation draws on. A choice holds at once, from the next message on. */
export function KnowledgeDialog({ close }: { close: () => void }) {
  const given = useGiven();
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
      <KnowledgeChoice hint={t.value.knowledgeHint} bare most={MOST} given={given} chosen={knowledge.value} onChange={(ids) => void chooseKnowledge(ids)} />
    </Dialog>
  );
}

/** What the conversation's project and assistant draw on, whatever is chosen here. */
function useGiven(): Record<string, string> {
  const { project_id, assistant_id } = conversation.value ?? seed.value;
  const [byAssistant, know] = useState<readonly string[]>([]);
  useEffect(() => {
    if (assistant_id) loadAssistant(assistant_id).then((found) => know(found?.knowledge ?? []), tell);
  }, [assistant_id]);
  const byProject = projects.value.find(({ id }) => id === project_id)?.knowledge ?? [];
  return Object.fromEntries([
    ...byProject.map((id) => [id, t.value.knowledgeOfProject] as const),
    ...byAssistant.map((id) => [id, t.value.knowledgeOfAssistant] as const),
  ]);
}
