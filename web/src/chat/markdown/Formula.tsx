import { useLayoutEffect, useRef } from "preact/hooks";
import { typesetter } from "./typeset";
import type { MathToken } from "./math";

/** A formula: as it was written until KaTeX is there, and where it has a mistake. */
export function Formula({ token: { text, display, open } }: { token: MathToken }) {
  const place = useRef<HTMLSpanElement>(null);
  const typeset = open ? null : typesetter();
  useLayoutEffect(() => {
    const box = place.current;
    if (!box) return;
    if (typeset === null || !typeset(text, box, display)) box.textContent = text;
  }, [text, display, typeset]);
  const Box = display ? "div" : "span";
  return <Box ref={place as never} class={display ? "formula display" : "formula"} tabIndex={display ? 0 : undefined} />;
}
