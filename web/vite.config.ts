import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

/**
 * Emits src/app/first-paint.js as a classic script in the page's <head>: it sets theme and language before anything
 * is drawn. A module would run too late (a white flash in the dark), an inline script is forbidden by our CSP.
 */
function firstPaint(): Plugin {
  const source = readFileSync(new URL("src/app/first-paint.js", import.meta.url), "utf8");
  return {
    name: "first-paint",
    apply: "build",
    enforce: "post",
    generateBundle(_options, bundle) {
      const reference = this.emitFile({ type: "asset", name: "first-paint.js", source });
      const page = bundle["index.html"];
      if (page?.type !== "asset") throw new Error("index.html is not in the bundle");
      const tag = `<script src="./${this.getFileName(reference)}"></script>`;
      page.source = String(page.source).replace("</title>", `</title>\n    ${tag}`);
    },
  };
}

/** KaTeX's style sheet names each font three times; every browser that runs this page reads the smallest. */
function smallestFonts(): Plugin {
  return {
    name: "smallest-fonts",
    enforce: "pre",
    transform(code, id) {
      if (!id.includes("katex") || !id.split("?")[0]?.endsWith(".css")) return undefined;
      return code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\([^)]*\)/g, "");
    },
  };
}

/** Mermaid's third layout, ELK, is a megabyte and a half under a licence that we do not ship; frame.ts draws without it. */
function withoutElk(): Plugin {
  const stub = "\0without-elk";
  return {
    name: "without-elk",
    enforce: "pre",
    resolveId: (id) => (id.startsWith("elkjs") ? stub : undefined),
    load: (id) => (id === stub ? 'export default class { constructor() { throw new Error("the ELK layout is not here"); } }' : undefined),
  };
}

export default defineConfig({
  base: "./",
  plugins: [firstPaint(), smallestFonts(), withoutElk()],
  build: {
    outDir: "../openglm/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // a data: URL would need a hole in the CSP
    reportCompressedSize: true,
    chunkSizeWarningLimit: 1500, // kB; Mermaid's parts are large, and fetched by those alone who see a diagram
    license: { fileName: "licences.md" }, // the notices that MIT and BSD ask for
    rolldownOptions: { input: ["index.html", "frame.html"] },
  },
  server: {
    proxy: Object.fromEntries(["/v1", "/api"].map((path) => [path, process.env["OPENGLM_SERVER"] ?? "http://127.0.0.1:8000"])),
  },
});
