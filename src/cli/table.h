#pragma once
#include <optional>
#include <string>
#include <vector>

namespace atl::cli {

struct Column {
  std::string title;
  bool right = false;         // numbers
  std::size_t least = 0;      // columns it may shrink to when the terminal is narrow; 0 = never shrinks
};

// Rows of printable text (see text.h; the caller escapes). `columns` = the terminal's width, or
// nullopt where nobody looks (a pipe): then nothing is cut. What does not fit even when every
// column is at its least is printed as one "title: value" block a row.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);  // as many as there are columns
  bool empty() const { return rows_.empty(); }
  std::string render(std::optional<std::size_t> columns, bool bold_head) const;

 private:
  std::vector<std::size_t> natural_widths() const;
  std::string render_blocks() const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "key:  value" lines, values lined up: for one thing rather than many.
std::string render_fields(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace atl::cli
