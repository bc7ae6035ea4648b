/**
 * Content that is in the page only while it is near the window. Elsewhere a box of its last height stands for it,
 * so a page of ten thousand parts scrolls like one of fifty.
 */

import { Component, type ComponentChildren, createRef } from "preact";

interface LazyProps {
  class?: string;
  id?: string;
  /** Its height in px before it was ever drawn. */
  guess: number;
  /** Drawn wherever it is: the end of a text that grows. */
  pinned?: boolean;
  children: () => ComponentChildren;
}

const NEAR_PX = 2000;

const watched = new WeakMap<Element, (near: boolean) => void>();
let observer: IntersectionObserver | null = null;

function watch(element: Element, see: (near: boolean) => void): () => void {
  observer ??= new IntersectionObserver(
    (entries) => entries.forEach(({ target, isIntersecting }) => watched.get(target)?.(isIntersecting)),
    { rootMargin: `${NEAR_PX}px 0px`, scrollMargin: `${NEAR_PX}px 0px` } as IntersectionObserverInit,
  );
  watched.set(element, see);
  observer.observe(element);
  return () => observer?.unobserve(element);
}

export class Lazy extends Component<LazyProps, { near: boolean }> {
  override state = { near: false };
  private readonly box = createRef<HTMLDivElement>();
  private height: number | null = null;
  private stop: (() => void) | null = null;

  override componentDidMount(): void {
    this.stop = watch(this.box.current!, (near) => {
      if (!near && this.state.near) this.height = this.box.current?.offsetHeight ?? null;
      if (near !== this.state.near) this.setState({ near });
    });
  }

  override componentWillUnmount(): void {
    this.stop?.();
  }

  override render({ class: look, id, guess, pinned, children }: LazyProps, { near }: { near: boolean }) {
    const drawn = near || pinned;
    return (
      <div ref={this.box} id={id} class={look} style={drawn ? { height: "" } : { height: `${this.height ?? guess}px` }}>
        {drawn && children()}
      </div>
    );
  }
}
