// One line of progress on a terminal, a few plain lines in a log, nothing when quiet.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

namespace assay {

class Progress {
 public:
  // `total_cost` is the sum of the cells' estimated seconds; the estimate of what is left follows the pace so far.
  Progress(std::FILE* file, bool quiet, int64_t total, double total_cost);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Begin(std::string_view label);
  void Done(double cost);
  void Skip(double cost);  // stored by an earlier run: counts as done, not for the pace
  // For work without cells: the share that is done. Says nothing in the first second, so that short work stays silent.
  void Share(double share, std::string_view label);

 private:
  void Draw(std::string_view label);
  void Print(const std::string& line);
  [[nodiscard]] double ElapsedSeconds() const;

  std::FILE* file_;
  bool quiet_;
  bool terminal_;
  int64_t total_;
  int64_t done_ = 0;
  double cost_left_;
  double cost_paid_ = 0;
  bool drawn_ = false;
  int last_tenth_ = -1;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace assay
