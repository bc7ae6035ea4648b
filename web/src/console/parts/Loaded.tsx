import type { ComponentChildren } from "preact";
import { t as shell } from "../../app/words";
import { Button } from "../../ui/Button";
import { FailureNote } from "../../ui/FailureNote";
import type { Load } from "./useLoad";

/** What was asked for, once it is there; until then a wait, and after a failure why and a way to try again. */
export function Loaded<T>({ load, children }: { load: Load<T>; children: (data: T) => ComponentChildren }) {
  const { data, failure, again } = load;
  return (
    <>
      {failure && (
        <div class="failed">
          <FailureNote failure={failure} />
          <Button icon="retry" onClick={() => void again()}>
            {shell.value.tryAgain}
          </Button>
        </div>
      )}
      {data !== null ? children(data) : !failure && <div class="loading" role="status" aria-label={shell.value.loading} />}
    </>
  );
}
