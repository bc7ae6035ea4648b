import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { go } from "../../app/router";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/EmptyState";
import { Select } from "../../ui/Field";
import { Loaded } from "../parts/Loaded";
import { type Project, useProjects } from "../parts/names";
import { t } from "./words";

const SHELF = "openglm.1.project.";

interface ChoiceProps {
  org: string;
  label?: string;
  children: (project: string, choice: ComponentChildren) => ComponentChildren;
}

/** What belongs to a project, below the choice of one; the choice is kept while the tab is open. */
export function ProjectChoice({ org, label = t.value.project, children }: ChoiceProps) {
  const load = useProjects(org);
  const [chosen, setChosen] = useState(() => sessionStorage.getItem(SHELF + org));
  const choose = (id: string) => {
    sessionStorage.setItem(SHELF + org, id);
    setChosen(id);
  };
  return (
    <Loaded load={load}>
      {(all) => {
        const open = all.filter((project) => !project.is_archived);
        const project = open.find(({ id }) => id === chosen) ?? open[0];
        if (!project) return <NoProject />;
        return children(project.id, <Choice label={label} project={project} open={open} onChoose={choose} />);
      }}
    </Loaded>
  );
}

function Choice({ label, project, open, onChoose }: { label: string; project: Project; open: Project[]; onChoose: (id: string) => void }) {
  return <Select label={label} value={project.id} options={open.map(({ id, name }) => [id, name])} onChange={onChoose} />;
}

function NoProject() {
  return (
    <EmptyState title={t.value.noProject} hint={t.value.noProjectHint} icon="folder">
      <Button onClick={() => go("console/projects")}>{t.value.project}</Button>
    </EmptyState>
  );
}
