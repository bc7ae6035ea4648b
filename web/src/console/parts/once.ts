/** A word that books one deed once: made when a form opens, sent again where the answer was lost. */
export function newOnce(): string {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
