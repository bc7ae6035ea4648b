import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Button } from "../ui/Button";
import { EmptyState } from "../ui/EmptyState";
import { t } from "./words";

type Load<P> = () => Promise<{ default: ComponentType<P> }>;

/** A view that is fetched when it is first shown. Where the server is gone it says so and can be tried again. */
export function lazy<P extends object>(load: Load<P>): ComponentType<P> {
  let loaded: ComponentType<P> | null = null;
  return function Lazy(props: P) {
    const [View, setView] = useState<ComponentType<P> | null>(() => loaded);
    const [failed, setFailed] = useState(false);
    const fetchIt = () => {
      setFailed(false);
      load().then(
        (module) => {
          loaded = module.default;
          setView(() => module.default);
        },
        () => setFailed(true),
      );
    };
    useEffect(() => {
      if (View === null) fetchIt();
    }, []);
    if (View !== null) return <View {...props} />;
    if (!failed) return <div class="loading" role="status" aria-label={t.value.loading} />;
    return (
      <EmptyState title={t.value.pageFailed} hint={t.value.unreachable} icon="warn">
        <Button onClick={fetchIt}>{t.value.tryAgain}</Button>
      </EmptyState>
    );
  };
}
