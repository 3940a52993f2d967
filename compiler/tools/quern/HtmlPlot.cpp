//===- HtmlPlot.cpp - The roofline plot as SVG ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Html.h"
#include "compiler/tools/quern/Plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

using namespace quern;
using namespace quern::tool;
using namespace quern::tool::plot;

namespace {

struct Point {
  double intensity, operations; ///< Per byte, and per second.
  bool wide;                    ///< Multiplies 16-bit elements.
  std::string label, note;
};

struct Box {
  double x, y, width, height;
  bool meets(const Box &other) const {
    return x < other.x + other.width && other.x < x + width &&
           y < other.y + other.height && other.y < y + height;
  }
};

} // namespace

/// The kernels of every run for which there is something to plot.
static std::vector<Point> pointsOf(const Explanation &explanation) {
  std::vector<Point> points;
  const auto &predictions = explanation.report().predictions;
  for (const Prediction &prediction : predictions)
    for (size_t i = 0; i < explanation.kernels.size(); ++i) {
      const select::KernelTraffic *traffic =
          explanation.trafficOf(prediction, i);
      if (!traffic || explanation.kernels[i].prepares())
        continue;
      select::Roofline roof =
          select::rooflineOf(*traffic, explanation.report().peaks);
      if (!(roof.bytes > 0 && roof.operations > 0))
        continue;
      Point point;
      point.intensity = roof.intensity();
      point.operations = roof.operations / roof.time() * 1e6;
      point.wide = traffic->elementBytes > 1;
      point.label = std::to_string(explanation.kernels[i].number);
      if (predictions.size() > 1)
        for (size_t s = 0; s < prediction.sizes.size(); ++s)
          point.label +=
              fmt::format("{}{}", s ? "," : " at ", prediction.sizes[s]);
      std::string at = explanation.sizesText(prediction.sizes);
      point.note = fmt::format(
          "kernel {}{}: {:.3g} operations per byte, {}op/s, bound by {}",
          explanation.kernels[i].number, at.empty() ? "" : " at " + at,
          roof.intensity(), countText(point.operations),
          roof.boundByMemory() ? "memory" : "arithmetic");
      points.push_back(std::move(point));
    }
  return points;
}

/// Powers of ten with their names.
static std::string axes(const Axis &x, const Axis &y) {
  std::string text;
  for (int e = int(x.from); e <= int(x.to); ++e)
    text += tickAlongX(x.at(std::pow(10, e)),
                       e < 0 ? fmt::format("{:.{}f}", std::pow(10, e), -e)
                             : countText(std::pow(10, e)));
  for (int e = int(y.from); e <= int(y.to); ++e)
    text += tickAlongY(y.at(std::pow(10, e)), countText(std::pow(10, e)));
  return text +
         axisNames("operations per byte of memory", "operations per second");
}

std::string quern::tool::drawRoofline(const Explanation &explanation) {
  std::vector<Point> points = pointsOf(explanation);
  const select::Peaks &peaks = explanation.report().peaks;
  if (points.empty())
    return "<p>There is nothing to plot: no kernel computes anything at these "
           "sizes.</p>\n";
  double memory = peaks.bytes * 1e6;
  double peak8 = peaks.operations8 * 1e6, peak16 = peaks.operations16 * 1e6;
  double least = peak16 / memory, most = peak8 / memory, lowest = peak16;
  for (const Point &point : points) {
    least = std::min(least, point.intensity);
    most = std::max(most, point.intensity);
    lowest = std::min(lowest, point.operations);
  }
  Axis x{std::floor(std::log10(least)), std::ceil(std::log10(most) + 0.2), left,
         width - right, true};
  lowest = std::min(lowest, memory * std::pow(10, x.from));
  Axis y{std::floor(std::log10(lowest)), std::ceil(std::log10(peak8) + 0.3),
         height - bottom, top, true};
  std::string text = begin("roofline plot") + axes(x, y);

  // What labels must stay clear of: each other, points, and the roofs' names.
  std::vector<Box> taken;
  auto roof = [&](double peak, const char *name) {
    double ridge =
        std::clamp(peak / memory, std::pow(10, x.from), std::pow(10, x.to));
    text += fmt::format(
        "<path class=\"roof\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}H{}\"/>\n",
        x.at(std::pow(10, x.from)), y.at(memory * std::pow(10, x.from)),
        x.at(ridge), y.at(std::min(peak, memory * ridge)), width - right);
    std::string label = fmt::format("{}: {}op/s", name, countText(peak));
    double w = double(lengthOf(label)) * charWidth;
    Box box{width - right - w - 4, y.at(peak) - 17, w, 14};
    taken.push_back(box);
    text += fmt::format("<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" "
                        "text-anchor=\"end\">{}</text>\n",
                        width - right - 4, y.at(peak) - 5, escaped(label));
  };
  // The roofs that kernels stand under.
  bool any16 = std::any_of(points.begin(), points.end(),
                           [](const Point &point) { return point.wide; });
  bool all16 = std::all_of(points.begin(), points.end(),
                           [](const Point &point) { return point.wide; });
  if (any16)
    roof(peak16, "16 bits");
  if (!all16)
    roof(peak8, "8 bits");
  std::string slope = fmt::format("memory: {}/s", bytesText(memory));
  double slopeWidth = double(lengthOf(slope)) * charWidth;
  taken.push_back({left + 8, top + 4, slopeWidth, 14});
  text += fmt::format("<text class=\"tick\" x=\"{}\" y=\"{}\">{}, the slope"
                      "</text>\n",
                      left + 8, top + 15, escaped(slope));
  taken.back().width += 11 * charWidth;

  for (const Point &point : points)
    taken.push_back(
        {x.at(point.intensity) - 6, y.at(point.operations) - 6, 12, 12});
  for (const Point &point : points) {
    double px = x.at(point.intensity), py = y.at(point.operations);
    text += fmt::format("<g class=\"point\"><title>{}</title><circle "
                        "cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"/></g>\n",
                        escaped(point.note), px, py);
    double w = double(lengthOf(point.label)) * charWidth;
    // The nearest free place; a point whose label has none keeps its note.
    for (int step = 0; step < 80; ++step) {
      double distance = 14.0 + 7.0 * (step / 4);
      double dx = step % 4 == 0 ? 10 : step % 4 == 1 ? -10 - w : -w / 2;
      double dy = step % 4 == 2 ? -distance : step % 4 == 3 ? distance : 0;
      if (step % 4 < 2)
        dy = (step / 4) * 7.0 * (step % 4 == 0 ? 1 : -1);
      Box box{px + dx, py + dy - 7, w, 14};
      bool inside = box.x >= left + 2 && box.x + box.width <= width - right &&
                    box.y >= top && box.y + box.height <= height - bottom - 2;
      if (!inside || std::any_of(taken.begin(), taken.end(),
                                 [&](const Box &b) { return b.meets(box); }))
        continue;
      taken.push_back(box);
      double nearX = std::clamp(px, box.x, box.x + box.width);
      double nearY = std::clamp(py, box.y, box.y + box.height);
      if (std::hypot(nearX - px, nearY - py) > 14)
        text += fmt::format(
            "<path class=\"leader\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", px,
            py, nearX, nearY);
      text += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\">{}"
                          "</text>\n",
                          box.x, box.y + 11, escaped(point.label));
      break;
    }
  }
  return text + "</svg>\n";
}
