//===- HtmlPage.cpp - The frame of a page ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One file that works offline: style and drawings stand in it, scripts it has
// none. What is wider than the window scrolls by itself, the page does not.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Html.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

using namespace quern;
using namespace quern::tool;

static constexpr const char *style = R"(
:root { color-scheme: light dark; --page: #fdfdfb; --ink: #1d2327;
  --soft: #5a646b; --line: #d5dadd; --band: #f1f3f2; --box: #ffffff;
  --kernel: #dcebf7; --kernel-line: #2f6f9f; --weight: #eee9dd;
  --weight-line: #9a8550; --input: #e2f0e3; --input-line: #4c8a52;
  --output: #f3e2ee; --output-line: #9a5386; --accent: #a4460d; }
@media (prefers-color-scheme: dark) { :root { --page: #14181a; --ink: #e4e8ea;
  --soft: #9aa6ad; --line: #3a4348; --band: #1c2225; --box: #1e2528;
  --kernel: #1c3547; --kernel-line: #6fb1de; --weight: #37311f;
  --weight-line: #c5ad6c; --input: #1d3420; --input-line: #7cc084;
  --output: #3a2435; --output-line: #d48fc0; --accent: #f19a5f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 1.5rem 1rem 3rem;
  background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 75ch; }
code, .num, svg text { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
code { font-size: .88em; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px;
  background: var(--box); }
.wide svg { display: block; margin: 0 auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
  border-bottom: 1px solid var(--line); }
tr:last-child > td { border-bottom: 0; }
th { background: var(--band); font-weight: 600; white-space: nowrap; }
td { min-width: 5.5rem; }
td.long { min-width: 14rem; }
.num { text-align: right; white-space: nowrap; font-size: .84rem; }
tr.chosen > td { background: var(--band); }
tr.chosen > td:first-child { font-weight: 700; color: var(--accent); }
tr.no > td { color: var(--soft); }
ul { margin: .2rem 0; padding-left: 1.2rem; }
svg text { font-size: 12px; fill: var(--ink); }
svg.graph text { text-anchor: middle; font-size: 11.5px; }
svg .head { font-weight: 700; }
rect { fill: var(--box); stroke: var(--soft); }
.kernel rect, .operation rect { fill: var(--kernel); stroke: var(--kernel-line); }
.weight rect { fill: var(--weight); stroke: var(--weight-line); }
.input rect { fill: var(--input); stroke: var(--input-line); }
.output rect { fill: var(--output); stroke: var(--output-line); }
.arrow { fill: none; stroke: var(--soft); stroke-width: 1.2; }
.tip { fill: var(--soft); }
.grid { stroke: var(--line); fill: none; }
.roof { stroke: var(--kernel-line); stroke-width: 2; fill: none; }
.leader { stroke: var(--soft); stroke-width: 1; fill: none; }
.series { fill: none; stroke: var(--accent); stroke-width: 2; }
.bound .series { stroke: var(--kernel-line); }
.point circle { fill: var(--accent); stroke: var(--box); }
.bound .point circle { fill: var(--kernel-line); }
svg.plot .tick, svg.plot .axis { fill: var(--soft); font-size: 11px; }
svg.plot .label { font-size: 11px; font-weight: 700; }
svg.plot text { paint-order: stroke; stroke: var(--box); stroke-width: 4px; }
)";

std::string quern::tool::cell(const std::string &text, const char *kind) {
  return fmt::format("<td{}>{}</td>",
                     kind ? fmt::format(" class=\"{}\"", kind) : std::string(),
                     text);
}

std::string quern::tool::table(const std::vector<std::string> &titles,
                               const std::string &rows) {
  std::string text = "<div class=\"wide\"><table><thead><tr>";
  for (const std::string &title : titles)
    text += fmt::format("<th>{}</th>", escaped(title));
  return text + "</tr></thead><tbody>\n" + rows + "</tbody></table></div>\n";
}

std::string quern::tool::page(const std::string &title,
                              const std::string &body) {
  return fmt::format("<!DOCTYPE html>\n<html lang=\"en\"><head><meta "
                     "charset=\"utf-8\">\n<meta name=\"viewport\" "
                     "content=\"width=device-width, initial-scale=1\">\n"
                     "<title>{}</title>\n<style>{}</style></head><body>\n{}"
                     "</body></html>\n",
                     escaped(title), style, body);
}

Result<void> quern::tool::writePage(const std::string &path,
                                    const std::string &text) {
  auto failed = [&] {
    return fail(Errc::InvalidArgument,
                fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  };
  std::FILE *file = std::fopen(path.c_str(), "wb");
  if (!file)
    return failed();
  bool whole = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  // What is buffered may fail to arrive as late as here.
  if (std::fclose(file) != 0 || !whole)
    return failed();
  return {};
}
