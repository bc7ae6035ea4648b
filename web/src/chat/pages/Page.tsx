import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { PageHeader } from "../../app/Shell";
import { failureOf, type Failure } from "../../app/useSend";
import { FailureNote } from "../../ui/FailureNote";
import { changedElsewhere } from "../list";

interface PageProps {
  title: string;
  hint?: string;
  /** Beside the hint: what one does here first. */
  action?: ComponentChildren;
  failure?: Failure | null;
  children?: ComponentChildren;
}

/** A page beside the chat: its title in the bar, one column below. */
export function Page({ title, hint, action, failure = null, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} · OpenGLM`;
  }, [title]);
  return (
    <>
      <PageHeader>
        <h1 class="page-title">{title}</h1>
      </PageHeader>
      <main class="page">
        <div class="page-column">
          {(hint || action) && (
            <div class="page-head">
              <p>{hint}</p>
              {action}
            </div>
          )}
          <FailureNote failure={failure} />
          {children}
        </div>
      </main>
    </>
  );
}

/** What a page shows: asked for now, and again when it changed elsewhere. */
export function useLoaded<T>(ask: () => Promise<T>) {
  const [value, setValue] = useState<T | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const load = async () => {
    try {
      setValue(await ask());
      setFailure(null);
    } catch (error) {
      setFailure(failureOf(error));
    }
  };
  useEffect(() => void load(), [changedElsewhere.value.times]);
  return { value, failure, load };
}
