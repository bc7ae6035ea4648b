/** The console's frame. Each page brings words of its own, beside it. */

export const words = {
  console: "Console",
  overview: "Overview",
  overviewHint: "What your organisation has, at a glance.",
  groups: {
    start: "Start",
    build: "Build",
    money: "Usage and cost",
    organisation: "Organisation",
    platform: "Platform",
  },
  pages: {
    overview: "Overview",
  },
  yourRole: (role: string, organisation: string) => `You are ${role} of ${organisation}.`,
};

export type Words = typeof words;
