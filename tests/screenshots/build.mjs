// Bundles the drawing of panels into one script: node build.mjs
import * as esbuild from "esbuild";

const asText = Object.fromEntries([".svg", ".png", ".woff", ".woff2", ".ttf"].map((ending) => [ending, "dataurl"]));

await esbuild.build({
  entryPoints: ["panels.jsx"],
  outfile: "site/panels.js",
  bundle: true,
  format: "iife",
  define: { "process.env.NODE_ENV": '"production"', global: "window" },
  loader: asText,
  logLevel: "error",
});
