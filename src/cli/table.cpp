#include "cli/table.h"

#include <algorithm>
#include <numeric>

#include "cli/text.h"

namespace atl::cli {
namespace {

constexpr std::size_t kGap = 2;

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::size_t have = display_width(text);
  const std::string blanks(width > have ? width - have : 0, ' ');
  return right ? blanks + text : text + blanks;
}

// Takes from the widest column that may still shrink, one column at a time. False: it cannot fit.
bool shrink(std::vector<std::size_t>& widths, const std::vector<Column>& columns, std::size_t target) {
  std::size_t total = std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1));
  while (total > target) {
    std::size_t widest = widths.size();
    for (std::size_t i = 0; i < widths.size(); ++i) {
      if (columns[i].least == 0 || widths[i] <= columns[i].least) continue;
      if (widest == widths.size() || widths[i] > widths[widest]) widest = i;
    }
    if (widest == widths.size()) return false;
    --widths[widest];
    --total;
  }
  return true;
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> Table::natural_widths() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(display_width(column.title));
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  return widths;
}

std::string Table::render(std::optional<std::size_t> columns, bool bold_head) const {
  if (columns_.empty()) return "";
  auto widths = natural_widths();
  if (columns && !shrink(widths, columns_, *columns)) return render_blocks();
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) text.append(kGap, ' ');
      text += padded(fit(cell_of(i), widths[i]), widths[i], columns_[i].right);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  };
  const std::string head = line([&](std::size_t i) { return columns_[i].title; });
  std::string out = bold_head ? "\x1b[1m" + head + "\x1b[0m\n" : head + "\n";
  for (const auto& row : rows_) out += line([&](std::size_t i) { return row[i]; }) + "\n";
  return out;
}

std::string Table::render_blocks() const {
  std::string out;
  for (const auto& row : rows_) {
    if (!out.empty()) out += "\n";
    std::vector<std::pair<std::string, std::string>> fields;
    for (std::size_t i = 0; i < columns_.size(); ++i) fields.emplace_back(columns_[i].title, row[i]);
    out += render_fields(fields);
  }
  return out;
}

std::string render_fields(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::size_t widest = 0;
  for (const auto& [key, value] : fields) widest = std::max(widest, display_width(key));
  std::string out;
  for (const auto& [key, value] : fields) out += padded(key + ":", widest + 2, false) + value + "\n";
  return out;
}

}  // namespace atl::cli
