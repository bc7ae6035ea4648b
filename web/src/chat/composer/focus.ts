export const BOX = "message";

export function focusComposer(): void {
  document.getElementById(BOX)?.focus();
}
