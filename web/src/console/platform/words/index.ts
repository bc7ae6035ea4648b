import { words } from "../../../app/locale";

export const t = await words(
  () => import("./en"),
  () => import("./zh"),
);
