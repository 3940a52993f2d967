//===- Plot.cpp - The frame of a plot -------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Plot.h"

#include "compiler/tools/quern/Html.h"

#include <fmt/format.h>

using namespace quern::tool;

std::string plot::begin(const std::string &label) {
  return fmt::format("<svg class=\"plot\" role=\"img\" aria-label=\"{2}\" "
                     "width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\">\n",
                     width, height, escaped(label));
}

std::string plot::tickAlongX(double at, const std::string &name) {
  return fmt::format("<path class=\"grid\" d=\"M{0:.1f} {1}V{2}\"/>"
                     "<text class=\"tick\" x=\"{0:.1f}\" y=\"{3}\" "
                     "text-anchor=\"middle\">{4}</text>\n",
                     at, top, height - bottom, height - bottom + 17,
                     escaped(name));
}

std::string plot::tickAlongY(double at, const std::string &name) {
  return fmt::format("<path class=\"grid\" d=\"M{0} {1:.1f}H{2}\"/>"
                     "<text class=\"tick\" x=\"{3}\" y=\"{4:.1f}\" "
                     "text-anchor=\"end\">{5}</text>\n",
                     left, at, width - right, left - 6, at + 4, escaped(name));
}

std::string plot::axisNames(const std::string &x, const std::string &y) {
  return fmt::format(
      "<text class=\"axis\" x=\"{:.1f}\" y=\"{}\" "
      "text-anchor=\"middle\">{}</text>\n"
      "<text class=\"axis\" transform=\"translate(14 {:.1f}) rotate(-90)\" "
      "text-anchor=\"middle\">{}</text>\n",
      (left + width - right) / 2, height - 14, escaped(x),
      (top + height - bottom) / 2, escaped(y));
}
