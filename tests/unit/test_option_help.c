/* SPDX-License-Identifier: MIT */
/* schema/option_help.[ch]: who asks for help, and what there is to say. */
#include "schema/option_help.h"

#include "base/cleanup.h"
#include "schema/tables.h"
#include "tests/unit/unit.h"

START_TEST(help_is_asked_for_by_a_word_alone)
{
	ck_assert(option_wants_help("help"));
	ck_assert(option_wants_help("?"));
	ck_assert(option_wants_help("a=1,help"));
	ck_assert(option_wants_help("a=1,,,?"));
	ck_assert(option_wants_help("help,a=1"));
	ck_assert(!option_wants_help("help=1"));
	ck_assert(!option_wants_help("a=help"));
	ck_assert(!option_wants_help("a=1,,help"));
	ck_assert(!option_wants_help("a=1,,help,,?"));
	ck_assert(!option_wants_help("helpless,help1"));
	ck_assert(!option_wants_help("{\"a\": \"b,help,c\"}"));
	ck_assert(!option_wants_help(""));
	ck_assert(!option_wants_help(NULL));
}
END_TEST

static void check(const struct schema_type *t, const char *text, const char *expected)
{
	_cleanup_free_ char *help = option_help(t, text, true, "Kinds:");

	ck_assert_str_eq(help, expected);
}

START_TEST(kinds_are_listed)
{
	static const char kinds[] = "Kinds:\n  socket\n  stdio\n";

	check(&chardev_options_type, "help", kinds);
	check(&chardev_options_type, "bogus,help", kinds);
	check(&chardev_options_type, "backend=bogus,help", kinds);
	check(&chardev_options_type, "id=stdio,help", kinds);
	check(&chardev_options_type, "backendx=stdio,help", kinds);
}
END_TEST

START_TEST(members_are_sorted_lines)
{
	static const char stdio[] = "stdio options:\n  signal=<bool>\n";
	static const char secret[] = "secret options:\n"
				     "  data=<string>\n"
				     "  file=<string>\n"
				     "  format=<QCryptoSecretFormat>\n"
				     "  iv=<string>\n"
				     "  keyid=<string>\n";

	check(&chardev_options_type, "stdio,help", stdio);
	check(&chardev_options_type, "id=a,backend=stdio,?", stdio);
	check(&object_options_type, "secret,help", secret);
	check(&object_options_type, "authz-list,help",
	      "authz-list options:\n  policy=<QAuthZListPolicy>\n  rules=<QAuthZListRule>\n");
}
END_TEST

START_TEST(a_struct_has_no_kinds)
{
	check(&monitor_options_type, "help",
	      "Kinds: options:\n  chardev=<string>\n  mode=<MonitorMode>\n  pretty=<bool>\n");
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(help_is_asked_for_by_a_word_alone),
	UNIT_TEST(kinds_are_listed),
	UNIT_TEST(members_are_sorted_lines),
	UNIT_TEST(a_struct_has_no_kinds),
};

UNIT_MAIN("option_help", tests)
