import { useLayoutEffect, useRef } from "preact/hooks";

interface Props {
  value: string;
  label: string;
  placeholder?: string;
  id?: string;
  autoFocus?: boolean;
  onInput: (text: string) => void;
  onSubmit: () => void;
  onEscape?: () => void;
  /** Asked first about every key; true: it was meant for something else. */
  onKey?: (event: KeyboardEvent) => boolean;
}

/** A text area as high as its text (up to the style sheet's max-height). Enter submits, Shift + Enter does not. */
export function GrowingText({ value, label, placeholder, id, autoFocus, onInput, onSubmit, onEscape, onKey }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const box = area.current;
    if (!box) return;
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
  }, [value]);
  useLayoutEffect(() => {
    if (!autoFocus || !area.current) return;
    area.current.focus();
    area.current.setSelectionRange(value.length, value.length);
  }, []);
  const onKeyDown = (event: KeyboardEvent) => {
    // keyCode 229: Safari ends the composition before its Enter arrives, so isComposing is already false there
    if (event.isComposing || event.keyCode === 229) return;
    if (onKey?.(event)) {
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      onSubmit();
    } else if (event.key === "Escape" && onEscape) {
      event.stopPropagation();
      onEscape();
    }
  };
  return (
    <textarea
      ref={area}
      id={id}
      rows={1}
      value={value}
      aria-label={label}
      placeholder={placeholder}
      onInput={(event) => onInput(event.currentTarget.value)}
      onKeyDown={onKeyDown}
    />
  );
}
