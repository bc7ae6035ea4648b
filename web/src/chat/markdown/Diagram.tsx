import { useEffect, useState } from "preact/hooks";
import { theme } from "../../app/preferences";
import { drawDiagram } from "../frame";
import { t } from "../words";

const SETTLE_MS = 250; // while the source still grows there is nothing to draw

/** A Mermaid diagram as an image. While its source has a mistake, or still grows, the last good drawing stays. */
export function Diagram({ source, onDrawn }: { source: string; onDrawn?: (source: string | null) => void }) {
  const [drawn, setDrawn] = useState<string | null>(null);
  const [failed, setFailed] = useState(false);
  const dark = theme.value === "dark";
  useEffect(() => {
    let wanted = true;
    const timer = setTimeout(() => {
      drawDiagram(source, dark).then(
        (svg) => {
          if (!wanted) return;
          setDrawn(URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" })));
          setFailed(false);
          onDrawn?.(source);
        },
        () => {
          if (!wanted) return;
          setFailed(true);
          onDrawn?.(null);
        },
      );
    }, SETTLE_MS);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [source, dark]);
  useEffect(() => () => (drawn ? URL.revokeObjectURL(drawn) : undefined), [drawn]);
  if (drawn) return <img class="diagram" src={drawn} alt={source} />;
  return failed ? <p class="hint diagram-note">{t.value.diagramFailed}</p> : null;
}
