// Draws a dashboard's JSON with Grafana's own components, from a real Prometheus' answers.
//
// board.json holds the dashboard, with its variables filled in, and what to draw:
// { dashboard, prometheus, seconds, theme }. The panel plugins themselves are not used (another licence),
// so options that only they read are not seen.
import React from "react";
import { createRoot } from "react-dom/client";
import { lastValueFrom } from "rxjs";
import {
  FieldType,
  Registry,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  createTheme,
  dateTime,
  getFieldDisplayValues,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
  transformDataFrame,
} from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, ThemeContext, TimeSeries } from "@grafana/ui";
import { TableNG } from "./node_modules/@grafana/ui/dist/esm/components/Table/TableNG/TableNG.mjs";

const COLUMN = 58; // pixels of one of the dashboard's 24 columns
const LINE = 38;
const GAP = 8;
const NOW = Math.floor(Date.now() / 1000);

// What Grafana's panels register when they are loaded.

function registerTransformers() {
  const byId = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
  standardTransformersRegistry.setInit(() =>
    [...byId.values()].map((one) => ({
      id: one.id,
      name: one.name,
      transformation: () => Promise.resolve(one),
      editor: () => null,
    })),
  );
}

function fieldConfigRegistry() {
  const standard = "unit min max decimals displayName noValue thresholds mappings color links description fieldMinMax";
  const custom =
    "drawStyle lineWidth lineStyle fillOpacity lineInterpolation showPoints spanNulls axisPlacement stacking " +
    "gradientMode pointSize cellOptions width minWidth align filterable thresholdsStyle hideFrom axisLabel insertNulls";
  const option = (path, isCustom) => ({
    id: isCustom ? `custom.${path}` : path,
    path,
    name: path,
    isCustom,
    process: (value) => value,
    shouldApply: () => true,
    override: () => null,
    editor: () => null,
    getItemsCount: () => 0,
  });
  const plain = standard.split(" ").map((path) => option(path, false));
  standardFieldConfigEditorRegistry.setInit(() => plain);
  return new Registry(() => [...plain, ...custom.split(" ").map((path) => option(path, true))]);
}

// From Prometheus' answers to data frames, as Grafana's data source makes them.

function stepOf(settings) {
  return Math.ceil(settings.seconds / 1000);
}

async function ask(target, settings) {
  const step = stepOf(settings);
  const parameters = target.instant
    ? { query: target.expr, time: NOW }
    : { query: target.expr, start: NOW - settings.seconds, end: NOW, step };
  const url = `${settings.prometheus}/api/v1/${target.instant ? "query" : "query_range"}`;
  const answer = await (await fetch(`${url}?${new URLSearchParams(parameters)}`)).json();
  if (answer.status !== "success") throw new Error(`${answer.error}: ${target.expr}`);
  return answer.data.result;
}

function legend(format, labels) {
  return (format ?? "").replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? "");
}

function tableFrame(target, result, several) {
  const names = [...new Set(result.flatMap((series) => Object.keys(series.metric)))].sort();
  const labels = names.map((name) => ({
    name,
    type: FieldType.string,
    config: { filterable: true },
    values: result.map((series) => series.metric[name] ?? ""),
  }));
  const time = { name: "Time", type: FieldType.time, values: result.map((series) => series.value[0] * 1000) };
  const values = result.map((series) => Number(series.value[1]));
  const value = { name: several ? `Value #${target.refId}` : "Value", type: FieldType.number, values };
  return toDataFrame({ refId: target.refId, fields: [time, ...labels, value] });
}

function seriesFrame(target, series, settings) {
  const found = series.values ?? [series.value];
  const points = target.instant ? found : withGaps(found, settings);
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: "Time", type: FieldType.time, values: points.map(([at]) => at * 1000) },
      {
        name: "Value",
        type: FieldType.number,
        labels: series.metric,
        config: { displayNameFromDS: legend(target.legendFormat, series.metric) },
        values: points.map(([, value]) => (value === null ? null : Number(value))),
      },
    ],
  });
}

function withGaps(points, settings) {
  const step = stepOf(settings);
  return points.flatMap((point, index) =>
    index > 0 && point[0] - points[index - 1][0] > 1.5 * step ? [[points[index - 1][0] + step, null], point] : [point],
  );
}

async function data(panel, settings, theme, registry) {
  let frames = [];
  for (const target of panel.targets) {
    const result = await ask(target, settings);
    if (target.format === "table") {
      if (result.length) frames.push(tableFrame(target, result, panel.targets.length > 1));
    } else {
      frames.push(...result.map((series) => seriesFrame(target, series, settings)));
    }
  }
  const steps = (panel.transformations ?? []).map(({ id, options }) => ({ id, options }));
  if (steps.length && frames.length) {
    frames = await lastValueFrom(transformDataFrame(steps, frames, { interpolate: (text) => text }));
  }
  const defaults = panel.fieldConfig.defaults;
  const lines = { drawStyle: "line", lineWidth: 1, showPoints: "auto", pointSize: 5, axisPlacement: "auto", lineInterpolation: "linear" };
  const shown = applyFieldOverrides({
    data: frames,
    fieldConfig: {
      defaults: {
        color: { mode: panel.type === "timeseries" ? "palette-classic" : "thresholds" },
        ...defaults,
        custom: { ...(panel.type === "timeseries" ? lines : {}), ...defaults.custom },
      },
      overrides: panel.fieldConfig.overrides ?? [],
    },
    replaceVariables: (text) => text,
    theme,
    fieldConfigRegistry: registry,
    timeZone: "utc",
  });
  cacheFieldDisplayNames(shown);
  return shown;
}

// The drawing.

function Content({ panel, frames, width, height, range, theme }) {
  if (!frames.some((frame) => frame.length)) {
    const centred = { display: "flex", alignItems: "center", justifyContent: "center", height };
    const text = panel.fieldConfig.defaults.noValue || "No data";
    return <div style={{ ...centred, color: theme.colors.text.secondary, textAlign: "center" }}>{text}</div>;
  }
  if (panel.type === "timeseries") {
    return (
      <TimeSeries
        frames={frames}
        width={width}
        height={height}
        timeRange={range}
        timeZone="utc"
        legend={panel.options.legend}
        options={panel.options}
      />
    );
  }
  if (panel.type === "table") {
    return (
      <TableNG
        data={frames[0]}
        width={width}
        height={height}
        sortBy={panel.options.sortBy}
        cellHeight="sm"
        structureRev={1}
        getActions={() => []}
        timeRange={range}
      />
    );
  }
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: frames,
    sparkline: false,
    timeZone: "utc",
  });
  return (
    <div style={{ display: "flex" }}>
      {values.map(({ display }, index) => (
        <BigValue
          key={index}
          theme={theme}
          width={width / values.length}
          height={height}
          value={display}
          colorMode={panel.options.colorMode}
          graphMode="none"
          justifyMode="auto"
          textMode={panel.options.textMode}
        />
      ))}
    </div>
  );
}

function Board({ items, range, theme }) {
  const lines = Math.max(...items.map(({ panel }) => panel.gridPos.y + panel.gridPos.h));
  const page = { position: "relative", width: 24 * COLUMN + GAP, height: lines * LINE + GAP };
  const look = { background: theme.colors.background.canvas, color: theme.colors.text.primary };
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ ...page, ...look, fontFamily: "Inter, 'DejaVu Sans', sans-serif", fontSize: 14 }}>
        {items.map(({ panel, frames }, index) => {
          const { x, y, w, h } = panel.gridPos;
          const size = { width: w * COLUMN - GAP, height: h * LINE - GAP };
          const place = { position: "absolute", left: x * COLUMN + GAP, top: y * LINE + GAP, ...size };
          return (
            <div key={index} style={place}>
              {frames === undefined ? (
                <h4 style={{ margin: 4 }}>{panel.title}</h4>
              ) : (
                <PanelChrome title={panel.title} description={panel.description} {...size}>
                  {(width, height) => <Content {...{ panel, frames, width, height, range, theme }} />}
                </PanelChrome>
              )}
            </div>
          );
        })}
      </div>
    </ThemeContext.Provider>
  );
}

async function main() {
  const settings = await (await fetch("board.json")).json();
  const theme = createTheme({ colors: { mode: settings.theme } });
  registerTransformers();
  const registry = fieldConfigRegistry();
  const items = [];
  for (const panel of settings.dashboard.panels) {
    items.push({ panel, frames: panel.type === "row" ? undefined : await data(panel, settings, theme, registry) });
  }
  const from = dateTime((NOW - settings.seconds) * 1000);
  const to = dateTime(NOW * 1000);
  const range = { from, to, raw: { from, to } };
  createRoot(document.getElementById("root")).render(<Board items={items} range={range} theme={theme} />);
  // The charts draw themselves after they were laid out, over several frames.
  setTimeout(() => (document.body.dataset.drawn = "yes"), 2500);
}

main().catch((error) => {
  console.error(error.stack);
  document.body.dataset.drawn = "failed";
});
