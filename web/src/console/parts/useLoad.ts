import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../../app/api";
import { type Failure, failureOf } from "../../app/useSend";

export interface Load<T> {
  data: T | null;
  failure: Failure | null;
  /** Ask again; what is shown stays until the answer is there. */
  again: () => Promise<void>;
}

/**
 * What a page shows, asked for when it opens and when `deps` change; with `every`, again after so many ms for as
 * long as the page can be seen. An answer to an older question is dropped.
 */
export function useLoad<T>(load: () => Promise<T>, deps: readonly unknown[], every?: number | null): Load<T> {
  const [data, setData] = useState<T | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const asked = useRef(0);
  const again = async () => {
    const mine = ++asked.current;
    try {
      const answer = await load();
      if (mine !== asked.current) return;
      setData(() => answer);
      setFailure(null);
    } catch (error) {
      if (mine !== asked.current) return;
      if (!(error instanceof ApiError)) throw error;
      setFailure(failureOf(error));
    }
  };
  useEffect(() => {
    setData(null);
    setFailure(null);
    void again();
    return () => void asked.current++;
  }, deps);
  useEffect(() => {
    if (!every) return;
    const timer = setInterval(() => document.visibilityState === "visible" && void again(), every);
    return () => clearInterval(timer);
  }, [...deps, every]);
  return { data, failure, again };
}
