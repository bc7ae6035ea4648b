import { words } from "../locale";

export const t = await words(
  () => import("./en"),
  () => import("./zh"),
);
