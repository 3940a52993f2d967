//===- BenchShares.cpp - From samples to medians and shares --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"

#include <algorithm>

using namespace quern;
using namespace quern::measure;
using namespace quern::tool;

/// Of the launch's products at the sample's peak, in seconds.
static double peakTime(const BenchedLaunch &launch,
                       const std::vector<BenchedPeak> &peaks,
                       const BenchSample &sample) {
  for (size_t i = 0; i < peaks.size(); ++i)
    if (launch.dot == peaks[i].dot)
      return launch.operations / sample.peaks[i];
  return 0;
}

void quern::tool::conclude(BenchedCase &one,
                           const std::vector<BenchedPeak> &peaks,
                           const std::vector<BenchSample> &samples) {
  std::vector<const BenchSample *> clean;
  for (const BenchSample &sample : samples) {
    one.interrupted += sample.isInterrupted;
    one.peakless += !sample.hasPeaks;
    if (!sample.isInterrupted && sample.hasPeaks)
      clean.push_back(&sample);
  }
  if (clean.size() < 5) {
    clean.clear();
    for (const BenchSample &sample : samples)
      clean.push_back(&sample);
  }
  one.samples = static_cast<unsigned>(samples.size());
  one.counted = static_cast<unsigned>(clean.size());

  // Medians over the samples of what is taken within each.
  auto over = [&](auto &&value) {
    std::vector<double> values;
    for (const BenchSample *sample : clean)
      values.push_back(value(*sample));
    return Spread(std::move(values));
  };
  auto readTime = [](const BenchedWork &work, const BenchSample &sample) {
    return sample.readRate > 0 ? work.bytes / sample.readRate : 0;
  };
  auto fill = [&](BenchedWork &work, auto &&seconds, auto &&arithmetic,
                  auto &&reads, auto &&bound) {
    auto share = [&](auto &&part) {
      return over([&](const BenchSample &sample) {
               double time = seconds(sample);
               return time > 0 ? part(sample) / time : 0;
             })
          .median;
    };
    work.seconds = over(seconds);
    work.shareOfPeak = share(arithmetic);
    work.shareOfReads = share(reads);
    work.shareOfBound = share(bound);
    work.boundByReads = work.shareOfReads > work.shareOfPeak;
  };
  one.readRate =
      over([](const BenchSample &sample) { return sample.readRate; });
  for (BenchedLaunch &launch : one.launches)
    fill(
        launch,
        [&](const BenchSample &sample) {
          return sample.launches[launch.number];
        },
        [&](const BenchSample &sample) {
          return peakTime(launch, peaks, sample);
        },
        [&](const BenchSample &sample) { return readTime(launch, sample); },
        [&](const BenchSample &sample) {
          return std::max(peakTime(launch, peaks, sample),
                          readTime(launch, sample));
        });
  auto sum = [&](const BenchSample &sample, auto &&part) {
    double total = 0;
    for (const BenchedLaunch &launch : one.launches)
      total += part(launch, sample);
    return total;
  };
  auto arithmetic = [&](const BenchedLaunch &launch,
                        const BenchSample &sample) {
    return peakTime(launch, peaks, sample);
  };
  fill(
      one.run, [](const BenchSample &sample) { return sample.seconds; },
      [&](const BenchSample &sample) { return sum(sample, arithmetic); },
      [&](const BenchSample &sample) { return sum(sample, readTime); },
      [&](const BenchSample &sample) {
        return sum(
            sample, [&](const BenchedLaunch &launch, const BenchSample &s) {
              return std::max(peakTime(launch, peaks, s), readTime(launch, s));
            });
      });
}
