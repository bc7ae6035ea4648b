import { useState } from "preact/hooks";
import { ApiError } from "./api";
import { t } from "./words";

export interface Failure {
  what: string;
  hint: string | null;
  param: string | null;
}

/** A deed that takes a while: whether it is under way, and what went wrong. */
export function useSend<A extends unknown[]>(deed: (...given: A) => Promise<void>) {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const send = async (...given: A) => {
    if (busy) return;
    setBusy(true);
    setFailure(null);
    try {
      await deed(...given);
    } catch (error) {
      setFailure(failureOf(error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, failure, send };
}

export function failureOf(error: unknown): Failure {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === null) return { what: t.value.unreachable, hint: null, param: null };
  return { what: error.what || t.value.failed, hint: error.hint, param: error.param };
}
