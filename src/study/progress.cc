#include "study/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "fmt/format.h"

namespace assay {
namespace {

std::string Duration(double seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

size_t Columns(std::FILE* file) {
  winsize size{};
  return ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress(std::FILE* file, bool quiet, int64_t total, double total_cost)
    : file_(file),
      quiet_(quiet || file == nullptr),
      terminal_(!quiet_ && isatty(fileno(file)) != 0),
      total_(total),
      cost_left_(total_cost),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  // Leaves the terminal's line clean for what is printed next.
  if (drawn_ && terminal_) fmt::print(file_, "\r\x1b[K");
  if (!quiet_) std::fflush(file_);
}

void Progress::Begin(std::string_view label) { Draw(label); }

void Progress::Done(double cost) {
  ++done_;
  cost_paid_ += cost;
  cost_left_ = std::max(0.0, cost_left_ - cost);
}

void Progress::Skip(double cost) {
  ++done_;
  cost_left_ = std::max(0.0, cost_left_ - cost);
}

void Progress::Draw(std::string_view label) {
  if (quiet_) return;
  const int tenth = static_cast<int>(10 * done_ / std::max<int64_t>(1, total_));
  if (!terminal_ && tenth == last_tenth_) return;
  last_tenth_ = tenth;
  const double left = cost_paid_ > 0 ? cost_left_ * ElapsedSeconds() / cost_paid_ : cost_left_;
  Print(fmt::format("[{}/{}] {}, about {} left", done_ + 1, total_, label, Duration(left)));
}

void Progress::Share(double share, std::string_view label) {
  const double elapsed = ElapsedSeconds();
  if (quiet_ || elapsed < 1 || share <= 0) return;
  const int tenth = static_cast<int>(10 * share);
  if (!terminal_ && tenth == last_tenth_) return;
  last_tenth_ = tenth;
  Print(fmt::format("{:3.0f} % {}, about {} left", 100 * share, label, Duration(elapsed * (1 - share) / share)));
}

double Progress::ElapsedSeconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

void Progress::Print(const std::string& text) {
  std::string line = text;
  if (!terminal_) {
    fmt::print(file_, "{}\n", line);
    return;
  }
  if (line.size() >= Columns(file_)) line.resize(Columns(file_) - 1);
  fmt::print(file_, "\r\x1b[K{}", line);
  std::fflush(file_);
  drawn_ = true;
}

}  // namespace assay
