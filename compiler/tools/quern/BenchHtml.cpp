//===- BenchHtml.cpp - What was measured, as a page -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"
#include "compiler/tools/quern/Html.h"
#include "compiler/tools/quern/Plot.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::measure;
using namespace quern::tool;
using namespace quern::tool::plot;

/// Shares over the symbol's values, which stand at its logarithm where they
/// span more than a factor of ten.
static std::string drawShares(const BenchReport &report) {
  size_t symbol = *report.symbol;
  std::vector<const BenchedCase *> cases;
  for (const BenchedCase &one : report.cases)
    cases.push_back(&one);
  std::sort(cases.begin(), cases.end(), [&](const auto *a, const auto *b) {
    return a->sizes[symbol] < b->sizes[symbol];
  });
  auto valueOf = [&](const BenchedCase *one) {
    return double(one->sizes[symbol]);
  };
  double least = valueOf(cases.front()), most = valueOf(cases.back());
  bool isLog = most > 10 * least;
  Axis x{isLog ? std::log10(least) : least, isLog ? std::log10(most) : most,
         left + 16, width - right - 16, isLog};
  double top_ = 100;
  for (const BenchedCase *one : cases)
    top_ = std::max(
        {top_, 100 * one->run.shareOfPeak, 100 * one->run.shareOfBound});
  Axis y{0, std::ceil(top_ / 20) * 20, height - bottom, top, false};

  const std::string &name = report.symbolNames[symbol];
  std::string text = begin(fmt::format("share of peak over {}", name));
  double last = -100;
  for (const BenchedCase *one : cases) {
    double at = x.at(valueOf(one));
    std::string label = std::to_string(one->sizes[symbol]);
    // Names of neighbours must not run into each other.
    bool fits = at - last > double(label.size() + 1) * charWidth;
    text += tickAlongX(at, fits ? label : "");
    if (fits)
      last = at;
  }
  for (double share = 0; share <= y.to; share += 20)
    text += tickAlongY(y.at(share), fmt::format("{:.0f} %", share));
  text += axisNames(name, "share of what the machine can do");

  auto series = [&](const char *kind, const char *what, auto &&share,
                    double legendAt) {
    std::string path, points;
    for (const BenchedCase *one : cases) {
      double at = x.at(valueOf(one)), height = y.at(100 * share(one->run));
      path +=
          fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", at, height);
      points += fmt::format(
          "<g class=\"point\"><title>{}: {:.1f} % of {}; {:.4g} us"
          "</title><circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/></g>\n",
          escaped(report.sizesText(*one)), 100 * share(one->run), what,
          one->run.seconds.median * 1e6, at, height);
    }
    text += fmt::format(
        "<g class=\"{0}\"><path class=\"series\" d=\"{1}\"/>\n{2}"
        "<path class=\"series\" d=\"M{3:.1f} 12h24\"/><text class=\"tick\" "
        "x=\"{4:.1f}\" y=\"16\">of {5}</text></g>\n",
        kind, path, points, legendAt, legendAt + 30, what);
  };
  series(
      "bound", "its bound", [](const BenchedWork &w) { return w.shareOfBound; },
      left + 220);
  series(
      "peak", "the peak", [](const BenchedWork &w) { return w.shareOfPeak; },
      left + 20);
  return text + "</svg>\n";
}

std::string quern::tool::toHtml(const BenchReport &report,
                                const BenchOptions &options) {
  std::string machine;
  for (const BenchedPeak &peak : report.peaks)
    machine += fmt::format(
        "<p>Peak: {}, {:.0f} Gop/s at {:.2f} GHz{}</p>\n",
        escaped(peak.dot.name()), peak.best.operations / 1e9,
        peak.best.clock / 1e9,
        peak.best.counts()
            ? ""
            : fmt::format("; it does not count, being {:.1f} % of {:.0f} "
                          "instructions a cycle",
                          100 * peak.best.shareOfLimit(),
                          peak.best.issueLimit()));
  for (const ReadRate &level : report.levels)
    machine += fmt::format("<p>Reads from {}: {:.1f} GB/s</p>\n",
                           name(level.level), level.rate / 1e9);
  std::string rows;
  for (const BenchedCase &one : report.cases) {
    const BenchedWork &run = one.run;
    auto number = [](double value, const char *form) {
      return cell(value > 0 ? fmt::format(fmt::runtime(form), value) : "",
                  "num");
    };
    rows += "<tr>" + cell(escaped(report.sizesText(one))) +
            number(run.seconds.median * 1e6, "{:.4g}") +
            cell(fmt::format("{:.4g}..{:.4g}", run.seconds.low * 1e6,
                             run.seconds.high * 1e6),
                 "num") +
            number(run.rate() / 1e9, "{:.1f}") +
            number(100 * run.shareOfPeak, "{:.1f} %") +
            number(run.weightRate() / 1e9, "{:.1f}") +
            number(one.readRate.median / 1e9, "{:.1f}") +
            number(100 * run.shareOfBound, "{:.1f} %") +
            cell(run.boundByReads ? "reading" : "arithmetic") + "</tr>\n";
  }
  return page(
      fmt::format("{} on {}", report.layer, report.target),
      fmt::format("<h1>{}</h1>\n<p class=\"soft\">{} for {}, {}{}</p>\n",
                  escaped(report.layer), escaped(options.file),
                  escaped(report.target), countOf(report.threads, "thread"),
                  report.processor.empty() ? ""
                                           : ", " + escaped(report.processor)) +
          machine + "<h2>How much of the machine is reached</h2>\n" +
          "<div class=\"wide\">" + drawShares(report) + "</div>\n" +
          "<p>The bound is the longer of two times: that of the products at "
          "the "
          "peak, and that of reading every buffer once.</p>\n" +
          "<h2>In numbers</h2>\n" +
          table({"", "us, median", "us, quartiles", "Gop/s", "of peak",
                 "weights, GB/s", "reads, GB/s", "of bound", "bound by"},
                rows));
}
