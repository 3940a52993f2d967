//===- ExplainHtml.cpp - An explanation as a page -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What stands on it; its frame and style are HtmlPage.cpp's.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Html.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

using namespace quern;
using namespace quern::tool;

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

/// Long words are cut where a box would become too wide; all of it is in the
/// note.
static std::string shortened(const std::string &text, size_t most = 40) {
  if (lengthOf(text) <= most)
    return text;
  std::string result;
  size_t length = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    bool begins = (static_cast<uint8_t>(text[i]) & 0xc0) != 0x80;
    if (begins && ++length == most)
      break;
    result += text[i];
  }
  return result + "…";
}

static std::string beforeFusion(const LayerGraph &graph) {
  static constexpr const char *kinds[] = {"input", "weight", "operation",
                                          "output"};
  Drawing drawing;
  for (const LayerGraph::Node &node : graph.nodes) {
    Drawing::Node box;
    box.kind = kinds[static_cast<size_t>(node.kind)];
    bool named = !node.name.empty() && node.name != node.label;
    box.lines.push_back(
        shortened(named ? node.name + " = " + node.label : node.label));
    box.lines.push_back(shortened(node.type));
    if (!node.klass.empty())
      box.lines.push_back(
          node.line ? fmt::format("line {}, {}", node.line, node.klass)
                    : node.klass);
    box.note = fmt::format("{}: {}", node.label, node.type);
    box.inputs.assign(node.inputs.begin(), node.inputs.end());
    drawing.nodes.push_back(std::move(box));
  }
  return drawGraph(drawing, "the layer's operations");
}

/// "w_up" of "w_up.codes".
static std::string ownerOf(const std::string &buffer) {
  for (const char *part : {".codes", ".scales", ".zeros"})
    if (buffer.ends_with(part))
      return buffer.substr(0, buffer.size() - std::strlen(part));
  return buffer;
}

/// Kernels, and the operands and values between them: parts of one value, its
/// codes and scales, are one box.
static std::string afterFusion(const Explanation &explanation,
                               const std::vector<RangeDesc> &when) {
  Drawing drawing;
  std::map<std::string, size_t> latest; ///< Nodes by buffer.
  // A node for buffers of one value.
  auto valueNode = [&](const std::vector<std::string> &buffers,
                       std::vector<size_t> inputs) {
    Drawing::Node node;
    node.kind = "temporary";
    node.lines.push_back(shortened(ownerOf(buffers.front())));
    node.inputs = std::move(inputs);
    for (const ExplainedBuffer &known : explanation.buffers) {
      if (std::find(buffers.begin(), buffers.end(), known.name) ==
              buffers.end() ||
          (!known.when.empty() && known.when != when))
        continue;
      node.kind = known.role;
      node.lines.push_back(shortened(known.type));
      node.note +=
          (node.note.empty() ? "" : "; ") + known.name + ": " + known.type;
      latest[known.name] = drawing.nodes.size();
    }
    drawing.nodes.push_back(std::move(node));
  };
  // Those that one kernel reads, or writes, together.
  auto byOwner = [](const std::vector<std::string> &buffers) {
    std::map<std::string, std::vector<std::string>> groups;
    for (const std::string &buffer : buffers)
      groups[ownerOf(buffer)].push_back(buffer);
    return groups;
  };
  for (size_t i = 0; i < explanation.kernels.size(); ++i) {
    const ExplainedKernel &kernel = explanation.kernels[i];
    if (!kernel.when.empty() && kernel.when != when)
      continue;
    // A launch that packs an operand makes the buffer of its name.
    std::vector<std::string> writes = {kernel.desc->name};
    std::string what;
    if (const select::KernelTraffic *traffic = explanation.partsOf(i)) {
      writes = traffic->writes;
      what = traffic->kernel;
    }
    auto isWritten = [&](const std::string &buffer) {
      return std::find(writes.begin(), writes.end(), buffer) != writes.end();
    };
    // State and values that nobody else sees.
    auto isOwn = [&](const std::string &buffer) {
      return buffer.ends_with(".state") || buffer.ends_with(".value");
    };
    Drawing::Node node;
    node.kind = "kernel";
    std::string title = explanation.kernelText(i);
    title[0] = static_cast<char>(std::toupper(title[0]));
    node.lines = {title, std::string(name(kernel.desc->numericsClass))};
    node.lines.insert(node.lines.begin() + 1,
                      shortened(what.empty() ? kernel.desc->name : what));
    node.note = kernel.desc->name + ": " + kernel.desc->reason;
    std::vector<std::string> unknown;
    std::set<size_t> inputs;
    for (const std::string &buffer : kernel.buffers)
      if (!isWritten(buffer) && !isOwn(buffer) && !latest.contains(buffer))
        unknown.push_back(buffer);
    for (const auto &[owner, buffers] : byOwner(unknown))
      valueNode(buffers, {});
    for (const std::string &buffer : kernel.buffers)
      if (!isWritten(buffer) && latest.contains(buffer))
        inputs.insert(latest[buffer]);
    node.inputs.assign(inputs.begin(), inputs.end());
    size_t number = drawing.nodes.size();
    drawing.nodes.push_back(std::move(node));
    for (const auto &[owner, buffers] : byOwner(writes))
      valueNode(buffers, {number});
  }
  return drawGraph(drawing, "the kernels that are launched");
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

static std::string scalesSection(const Explanation &explanation) {
  std::string rows;
  for (const ScalePath &path : explanation.report().scales) {
    std::string where, uses;
    for (const ScalePlacement *placement : explanation.placementsOf(path.owner))
      where += fmt::format("<p>line {}: {}</p>", placement->line,
                           escaped(placement->text));
    for (const ScalePath::Use &use : path.uses)
      if (auto launch = explanation.launchOf(use.launch);
          launch && explanation.isShown(explanation.kernels[*launch].when))
        uses += fmt::format("<p>{}, stage {}: {}</p>",
                            escaped(explanation.kernelText(*launch)),
                            use.stage + 1, escaped(use.text));
    rows += "<tr>" + cell("<code>" + escaped(path.buffer) + "</code>") +
            cell("<code>" + escaped(path.type) + "</code>" +
                     (path.isDynamic ? "<p class=\"soft\">dynamic</p>" : ""),
                 "long") +
            cell(where, "long") + cell(uses, "long") + "</tr>\n";
  }
  if (rows.empty())
    return {};
  return "<h2>Every scale, from its type to the kernels</h2>\n" +
         table({"Scale", "Type", "Where, and why", "Kernels"}, rows);
}

static std::string optionRow(const Explanation &explanation,
                             const QuantizationPlacement &site,
                             const QuantizationPlacement::Option &option) {
  std::string rows = fmt::format("<tr{}>", option.chosen ? " class=\"chosen\""
                                           : option.possible ? ""
                                                             : " class=\"no\"");
  rows += cell(escaped(option.placement));
  if (!option.possible)
    return rows + fmt::format("<td colspan=\"4\">not possible: {}</td></tr>\n",
                              escaped(option.reason));
  std::string costs, bytes, passes, terms;
  for (size_t s = 0; s < option.terms.size(); ++s) {
    std::string at = explanation.sizesText(site.predictedFor[s]);
    double sum = 0;
    std::string list;
    for (const auto &term : option.terms[s]) {
      sum += term.microseconds;
      list += fmt::format("<li>{} {}: {}</li>", escaped(term.kind),
                          timeText(term.microseconds), escaped(term.text));
    }
    costs += fmt::format("{}{}<br>", timeText(sum),
                         at.empty() ? "" : " at " + escaped(at));
    terms += fmt::format("{}<ul>{}</ul>", escaped(at), list);
    if (s < option.moves.size() && option.moves[s]) {
      bytes += bytesText(option.moves[s]->bytes) + "<br>";
      passes += fmt::format("{}<br>", option.moves[s]->passesSaved);
    }
  }
  return rows + cell(costs, "num") + cell(bytes, "num") + cell(passes, "num") +
         cell(terms, "long") + "</tr>\n";
}

static std::string placementsSection(const Explanation &explanation) {
  std::string text;
  for (const QuantizationPlacement &site : explanation.output().quantizations) {
    if (!explanation.isShown(site.when))
      continue;
    std::string range = explanation.rangeText(site.when);
    text += fmt::format("<h3><code>{}</code>, line {}{}</h3>\n",
                        escaped(site.value), site.line,
                        range.empty() ? "" : ", where " + escaped(range));
    for (const std::string &sentence : whyChosen(explanation, site))
      text += fmt::format("<p>{}.</p>\n", escaped(sentence));
    std::string rows;
    for (const auto &option : site.options)
      rows += optionRow(explanation, site, option);
    std::string bytes;
    for (double one : site.staticBytes)
      bytes += bytesText(one) + "<br>";
    if (!bytes.empty())
      rows += "<tr>" + cell("a static scale") + cell("0", "num") +
              cell(bytes, "num") + cell("") + cell("for comparison") +
              "</tr>\n";
    text += table({"Placement", "Beyond a static scale", "Moves",
                   "Passes saved", "Of which"},
                  rows);
  }
  if (text.empty())
    return {};
  return "<h2>Where dynamic quantizations are computed</h2>\n" + text;
}

static std::string kernelsSection(const Explanation &explanation) {
  const LayerReport &report = explanation.report();
  std::string rows;
  for (size_t i = 0; i < explanation.kernels.size(); ++i) {
    const ExplainedKernel &kernel = explanation.kernels[i];
    const KernelDesc &desc = *kernel.desc;
    if (!explanation.isShown(kernel.when))
      continue;
    std::string title = explanation.kernelText(i);
    title[0] = static_cast<char>(std::toupper(title[0]));
    if (!kernel.when.empty())
      title += ", where " + explanation.rangeText(kernel.when);
    std::string what = fmt::format(
        "<code>{}</code><p>{}</p><p class=\"soft\">{}</p>", escaped(desc.name),
        escaped(desc.reason), escaped(desc.schedule));
    std::string operations;
    if (const select::KernelTraffic *traffic = explanation.partsOf(i))
      for (const select::KernelPart &part : traffic->parts)
        operations += fmt::format("<p>{}: {}</p>", escaped(part.klass),
                                  escaped(part.what));
    std::string moves, bound;
    for (const Prediction &prediction : report.predictions) {
      const select::KernelTraffic *traffic =
          explanation.trafficOf(prediction, i);
      if (!traffic)
        continue;
      std::string at = explanation.sizesText(prediction.sizes);
      select::Moved moved = traffic->moved();
      select::Roofline roof = select::rooflineOf(*traffic, report.peaks);
      const sim::Counters *counted = explanation.countedOf(i, prediction.sizes);
      moves += fmt::format(
          "<p>{}{}{} read, {} written{}</p>",
          at.empty() ? "" : escaped(at) + ": ",
          moved.sectors() > 0 ? fmt::format("{:.0f} sectors, ", moved.sectors())
                              : std::string(),
          bytesText(moved.bytesRead), bytesText(moved.bytesWritten),
          counted ? fmt::format("; counted {} sectors", counted->globalSectors)
                  : std::string());
      bound += fmt::format(
          "<p>{}{}, {}; {:.3g} operations per byte; {:.0f} % of the run</p>",
          at.empty() ? "" : escaped(at) + ": ",
          roof.boundByMemory() ? "memory" : "arithmetic", timeText(roof.time()),
          roof.intensity(), 100 * explanation.shareOf(prediction, i));
    }
    for (const std::string &reason : explanation.unknownOf(i))
      moves += fmt::format("<p class=\"soft\">not predicted: {}</p>",
                           escaped(reason));
    rows += "<tr>" + cell(escaped(title)) + cell(what, "long") +
            cell(std::string(name(desc.numericsClass)) + operations, "long") +
            cell(moves, "long") + cell(bound, "long") + "</tr>\n";
  }
  std::string unused;
  for (const std::string &one : explanation.output().unusedSchedules)
    unused += fmt::format("<p class=\"soft\">{}</p>\n", escaped(one));
  return "<h2>Kernels</h2>\n" +
         table({"", "What and how", "Determined", "Moves", "Bound by"}, rows) +
         unused;
}

static std::string buffersSection(const Explanation &explanation) {
  std::string rows;
  for (const ExplainedBuffer &buffer : explanation.buffers)
    if (explanation.isShown(buffer.when))
      rows +=
          "<tr>" + cell("<code>" + escaped(buffer.name) + "</code>") +
          cell(buffer.role) +
          cell("<code>" + escaped(buffer.type) + "</code>" +
               (buffer.when.empty() ? ""
                                    : " where " + escaped(explanation.rangeText(
                                                      buffer.when)))) +
          cell(buffer.bytes ? bytesText(double(*buffer.bytes)) : "", "num") +
          "</tr>\n";
  return "<h2>Buffers</h2>\n" + table({"Name", "Role", "Type", "Size"}, rows);
}

//===----------------------------------------------------------------------===//
// The page
//===----------------------------------------------------------------------===//

static std::string graphsSection(const Explanation &explanation) {
  const LayerReport &report = explanation.report();
  if (report.graph.nodes.empty())
    return "<p>Read from a module: the layer's graph, where scales are applied "
           "and what is predicted are said for a layer's text alone.</p>\n";
  std::string text =
      "<h2>The layer as it is written</h2>\n<div class=\"wide\">" +
      beforeFusion(report.graph) + "</div>\n";
  // Who writes what is known with what is predicted.
  bool isKnown = false;
  for (size_t i = 0; i < explanation.kernels.size(); ++i)
    isKnown |= explanation.partsOf(i) != nullptr;
  if (!isKnown)
    return text;
  text += "<h2>What is launched</h2>\n";
  for (const std::vector<RangeDesc> &when : explanation.ranges()) {
    if (!explanation.isShown(when))
      continue;
    if (!when.empty())
      text += fmt::format("<h3>Where {}</h3>\n",
                          escaped(explanation.rangeText(when)));
    text +=
        "<div class=\"wide\">" + afterFusion(explanation, when) + "</div>\n";
  }
  return text;
}

static std::string rooflineSection(const Explanation &explanation) {
  const LayerReport &report = explanation.report();
  if (report.predictions.empty())
    return {};
  std::string text = "<h2>Roofline</h2>\n";
  for (const Prediction &prediction : report.predictions)
    if (!prediction.unknown.empty())
      text += fmt::format("<p>Nothing is predicted for {}: {}</p>\n",
                          escaped(explanation.sizesText(prediction.sizes)),
                          escaped(prediction.unknown));
  return text +
         fmt::format("<p>Each point is a kernel at its bound, by number. The "
                     "roofs are for {}.</p>\n",
                     escaped(report.peaks.machine)) +
         "<div class=\"wide\">" + drawRoofline(explanation) + "</div>\n";
}

std::string quern::tool::toHtml(const Explanation &explanation) {
  const std::string &layer = explanation.output().module.layer;
  std::vector<std::string> sizes;
  for (const Prediction &prediction : explanation.report().predictions)
    if (!prediction.sizes.empty())
      sizes.push_back(explanation.sizesText(prediction.sizes));
  return page(
      fmt::format("{} for {}", layer, explanation.variant.target),
      fmt::format("<h1>{0}</h1>\n<p class=\"soft\">{2} for {1}: {3}{4}</p>\n",
                  escaped(layer), escaped(explanation.variant.target),
                  escaped(explanation.options.file),
                  escaped(explanation.counts.print()),
                  sizes.empty()
                      ? std::string()
                      : escaped(fmt::format("; predicted for {}",
                                            fmt::join(sizes, "; ")))) +
          graphsSection(explanation) + placementsSection(explanation) +
          kernelsSection(explanation) + rooflineSection(explanation) +
          scalesSection(explanation) + buffersSection(explanation));
}
