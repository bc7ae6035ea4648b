/** Dialogs that any part of the app opens: drawn once, above everything, in the order they were opened. */

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { Confirm } from "../ui/Dialog";

interface Opened {
  id: number;
  draw: () => ComponentChildren;
}

const opened = signal<Opened[]>([]);
let nextId = 1;

export const hasDialog = () => opened.value.length > 0;

/** Show a dialog; `draw` gets the function that closes it, which is also returned. */
export function showDialog(draw: (close: () => void) => ComponentChildren): () => void {
  const id = nextId++;
  const close = () => (opened.value = opened.value.filter((each) => each.id !== id));
  opened.value = [...opened.value, { id, draw: () => draw(close) }];
  return close;
}

interface Question {
  title: string;
  text: ComponentChildren;
  action: string;
  danger?: boolean;
}

/** Ask before something that cannot be taken back. */
export function confirmed(question: Question): Promise<boolean> {
  return new Promise((resolve) => {
    const close = showDialog(() => {
      const end = (answer: boolean) => () => {
        close();
        resolve(answer);
      };
      return <Confirm {...question} onConfirm={end(true)} onClose={end(false)} />;
    });
  });
}

export function Dialogs() {
  return (
    <>
      {opened.value.map(({ id, draw }) => (
        <Drawn key={id} draw={draw} />
      ))}
    </>
  );
}

const Drawn = ({ draw }: { draw: () => ComponentChildren }) => <>{draw()}</>;
