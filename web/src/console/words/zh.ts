import type { Words } from "./en";

export const words: Words = {
  console: "控制台",
  overview: "概览",
  overviewHint: "一眼看清组织的现状。",
  groups: {
    start: "开始",
    build: "开发",
    money: "用量与费用",
    organisation: "组织",
    platform: "平台",
  },
  pages: {
    overview: "概览",
  },
  yourRole: (role, organisation) => `你是 ${organisation} 的 ${role}。`,
};
