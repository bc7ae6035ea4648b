// Theme and language before the first paint. Keys and meaning: src/preferences.ts.
(function () {
  var kept = {};
  try {
    kept = JSON.parse(localStorage.getItem("openglm.1.preferences") || "{}") || {};
  } catch (_) {
    // no storage, or not ours: the system's choice stands
  }
  var root = document.documentElement;
  var dark = kept.theme === "dark" || (kept.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "dark" : "light";
  var zh = kept.language === "zh" || (kept.language !== "en" && /^zh/i.test(navigator.language));
  root.lang = zh ? "zh-CN" : "en";
})();
