#include "cli/text.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "cli/duration.h"
#include "cli/exits.h"
#include "cli/fields.h"
#include "cli/table.h"

namespace atl::cli {
namespace {

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("plain äöü 日本"), "plain äöü 日本");
  EXPECT_EQ(printable("\x1b]0;own\x07"), "\\x1b]0;own\\x07");
  EXPECT_EQ(printable("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(printable(std::string("\0x", 2)), "\\x00x");
  EXPECT_EQ(printable("\xc2\x9b" "31m"), "\\u{9b}31m");            // C1 control sequence introducer
  EXPECT_EQ(printable("\xe2\x80\xae" "txt"), "\\u{202e}txt");      // right-to-left override
  EXPECT_EQ(printable("\xe2\x80\x8b"), "\\u{200b}");               // zero width
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80");                  // overlong NUL
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");         // surrogate
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");                  // cut
}

TEST(DisplayWidth, CountsColumnsNotBytes) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("äb"), 2u);
  EXPECT_EQ(display_width("日本"), 4u);
  EXPECT_EQ(display_width("e\xcc\x81"), 1u);
}

TEST(Fit, CutsAtColumns) {
  EXPECT_EQ(fit("hello", 5), "hello");
  EXPECT_EQ(fit("hello", 4), "hel…");
  EXPECT_EQ(fit("日本語", 4), "日…");
  EXPECT_EQ(fit("hello", 0), "");
}

TEST(JsonText, StaysJsonAndIsSafeToSee) {
  json::object object;
  object["a"] = "\x1b[31m\xc2\x9b\xe2\x80\xae";
  const std::string text = json_text(object);
  EXPECT_EQ(text, "{\"a\":\"\\u001b[31m\\u009b\\u202e\"}");
  const auto again = parse_json(text);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, json::value(object));
}

TEST(JsonText, HasNoInfinity) { EXPECT_EQ(json_text(*parse_json("[777E5555,-1e999,1.5]")), "[null,null,1.5E0]"); }

TEST(ShellQuote, IsOneWord) {
  EXPECT_EQ(shell_quote("abc"), "'abc'");
  EXPECT_EQ(shell_quote("it's $HOME"), "'it'\\''s $HOME'");
}

TEST(Duration, ParsesWhatPeopleWrite) {
  EXPECT_EQ(*parse_duration("90"), 90);
  EXPECT_EQ(*parse_duration("90s"), 90);
  EXPECT_EQ(*parse_duration("5m"), 300);
  EXPECT_EQ(*parse_duration("2h"), 7200);
  EXPECT_EQ(*parse_duration("1h30m"), 5400);
  EXPECT_EQ(*parse_duration("1d"), 86400);
  EXPECT_EQ(*parse_duration("0"), 0);
  for (const char* bad : {"", "s", "5x", "-5", "1h30", "1.5h", " 5", "5 ", "99999999999", "31d", "999999999d"})
    EXPECT_FALSE(parse_duration(bad).ok()) << bad;
  EXPECT_NE(parse_duration("5x").error().message.find("\"5x\""), std::string::npos);
}

TEST(Duration, FormatsTheTwoLargestUnits) {
  EXPECT_EQ(format_duration(-3), "0s");
  EXPECT_EQ(format_duration(59), "59s");
  EXPECT_EQ(format_duration(60), "1m");
  EXPECT_EQ(format_duration(725), "12m 5s");
  EXPECT_EQ(format_duration(12000), "3h 20m");
  EXPECT_EQ(format_duration(2 * 86400 + 4 * 3600 + 59), "2d 4h");
}

TEST(Bytes, AreDecimal) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1500), "1.5 kB");
  EXPECT_EQ(format_bytes(999'999), "1.0 MB");
  EXPECT_EQ(format_bytes(18'446'744'073'709'551'615ull), "18.4 EB");
}

TEST(Rfc3339, ParsesFractionsAndZones) {
  EXPECT_EQ(*parse_rfc3339("1970-01-01T00:00:10Z"), 10);
  EXPECT_EQ(*parse_rfc3339("2026-11-25T16:43:40.457Z"), 1795625020);
  EXPECT_EQ(*parse_rfc3339("2026-11-25T18:43:40+02:00"), 1795625020);
  for (const char* bad : {"", "2026", "2026-11-25", "2026-11-25T16:43:40", "2026-13-25T16:43:40Z", "2026-11-25T16:43:40x"})
    EXPECT_FALSE(parse_rfc3339(bad).ok()) << bad;
}

TEST(Exits, MapErrorsAndProcesses) {
  EXPECT_EQ(exit_code_for(make_error(Errc::not_found, "")), 3);
  EXPECT_EQ(exit_code_for(make_error(Errc::unauthenticated, "")), 4);
  EXPECT_EQ(exit_code_for(make_error(Errc::denied, "")), 4);
  EXPECT_EQ(exit_code_for(make_error(Errc::unavailable, "")), 5);
  EXPECT_EQ(exit_code_for(make_error(Errc::exhausted, "")), 1);
  EXPECT_EQ(exit_code_of_process(7, true, "exit status 7"), 7);
  EXPECT_EQ(exit_code_of_process(-1, false, "signal: killed"), 137);
  EXPECT_EQ(exit_code_of_process(-1, false, "signal: terminated"), 143);
  EXPECT_EQ(exit_code_of_process(-1, false, "signal: segmentation fault (core dumped)"), 139);
  EXPECT_EQ(exit_code_of_process(-1, false, "odd"), 255);
}

TEST(Table, AlignsAndNeverCutsForAPipe) {
  Table table({{"ID"}, {"N", true}, {"TEXT", false, 4}});
  table.add({"a", "1", "short"});
  table.add({"bbb", "22", std::string(200, 'x')});
  EXPECT_EQ(table.render(std::nullopt, false), "ID    N  TEXT\na     1  short\nbbb  22  " + std::string(200, 'x') + "\n");
}

TEST(Table, ShrinksToTheTerminal) {
  Table table({{"ID"}, {"TEXT", false, 4}});
  table.add({"abc", "0123456789"});
  EXPECT_EQ(table.render(11, false), "ID   TEXT\nabc  01234…\n");
  EXPECT_EQ(table.render(11, true), "\x1b[1mID   TEXT\x1b[0m\nabc  01234…\n");
  // Below the least widths: one block a row.
  EXPECT_EQ(table.render(5, false), "ID:   abc\nTEXT: 0123456789\n");
}

TEST(Fields, FlattenInOrder) {
  const auto value = parse_json(R"({"a":1,"b":{"c":"x\u001b","d":[1,2],"n":null},"m":[{"p":"/","o":["ro"]},{"q":{"r":true}}],"f":2.5})");
  const auto lines = flatten(*value);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"a", "1"}, {"b.c", "x\\x1b"}, {"b.d", "1, 2"}, {"m[0]", "p=/  o=ro"}, {"m[1].q.r", "true"}, {"f", "2.5"}};
  EXPECT_EQ(lines, expected);
}

TEST(Fields, FindTheTierWhereverItIs) {
  EXPECT_EQ(tier_of(*parse_json(R"({"atoll":{"tier":"gvisor"}})")), "gvisor");
  EXPECT_EQ(tier_of(*parse_json(R"({"tier":"container"})")), "container");
  EXPECT_EQ(tier_of(*parse_json("{}")), "");
}

}  // namespace
}  // namespace atl::cli
