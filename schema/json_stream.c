/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader: a lexer that keeps its state between bytes, and a builder
 * with an explicit stack. Runs on its owner's thread.
 *
 * Invariants:
 *  1. A token that lies whole in one chunk is never copied; s->token holds what
 *     earlier chunks brought of one that does not.
 *  2. Containers hang in their parents from the moment they are opened, so the
 *     stack borrows and s->root is the only owned reference.
 *  3. Once s->error is set, tokens only count brackets until they match.
 */
#include "schema/json_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "schema/json.h"
#include "schema/json_string.h"

/* What the lexer is within. */
enum lex {
	LEX_START,       /* between tokens */
	LEX_STRING,      /* after the opening quote */
	LEX_ESCAPE,      /* after a backslash */
	LEX_MINUS,       /* "-": a digit must come */
	LEX_ZERO,        /* "0": no digit may come */
	LEX_DIGITS,      /* "12" */
	LEX_POINT,       /* "1.": a digit must come */
	LEX_FRACTION,    /* "1.2" */
	LEX_EXPONENT,    /* "1e": a digit or sign must come */
	LEX_SIGN,        /* "1e+": a digit must come */
	LEX_POWER,       /* "1e+2" */
	LEX_WORD,        /* lower-case letters */
	LEX_RECOVER,     /* skipping after an error */
};

/* What the grammar waits for. */
enum expect {
	EXPECT_VALUE,
	EXPECT_KEY_OR_END,   /* after { */
	EXPECT_VALUE_OR_END, /* after [ */
	EXPECT_KEY,          /* after , in an object */
	EXPECT_COLON,
	EXPECT_SEPARATOR,    /* after a value in a container */
};

#define ERROR_SIZE 192

struct json_stream {
	json_stream_fn *fn;
	void *arg;

	enum lex lex;
	char quote;
	bool plain; /* the string so far has no escape and is ASCII */
	char *token;
	size_t token_length, token_capacity;

	enum expect expect;
	json_t *root;
	json_t **stack;
	size_t depth, stack_capacity;
	char *key;
	size_t key_length, key_capacity;
	long braces, brackets; /* open minus closed, in what is under way */
	size_t size, tokens;   /* of what is under way */
	char error[ERROR_SIZE];
};

enum char_class { CLASS_PLAIN, CLASS_QUOTE, CLASS_BACKSLASH, CLASS_HIGH, CLASS_BAD };

/* Which bytes of a string need attention. */
static const unsigned char string_class[256] = {
	[0 ... 31] = CLASS_BAD, ['"'] = CLASS_QUOTE,     ['\''] = CLASS_QUOTE,
	['\\'] = CLASS_BACKSLASH, [128 ... 253] = CLASS_HIGH, [254 ... 255] = CLASS_BAD,
};

static void reserve(char **buffer, size_t *capacity, size_t needed)
{
	if (needed <= *capacity)
		return;
	*capacity = MAX(needed, *capacity * 2);
	*buffer = xrealloc(*buffer, *capacity, 1);
}

/* Forget what is under way, and memory that one large value left behind. */
static void reset(struct json_stream *s)
{
	json_release(s->root);
	s->root = NULL;
	s->depth = 0;
	s->braces = s->brackets = 0;
	s->size = s->tokens = 0;
	s->token_length = 0;
	s->expect = EXPECT_VALUE;
	s->error[0] = '\0';
	if (s->token_capacity > 64 * KiB) {
		free(s->token);
		s->token = NULL;
		s->token_capacity = 0;
	}
}

static bool is_under_way(const struct json_stream *s)
{
	return s->tokens > 0;
}

static void fail(struct json_stream *s, const char *what)
{
	if (!s->error[0])
		snprintf(s->error, sizeof(s->error), "JSON parse error, %s", what);
}

/* Report s->error or the value. Returns fn's answer. */
static bool deliver(struct json_stream *s)
{
	char error[ERROR_SIZE];
	json_t *value = s->root;
	bool failed = s->error[0] != '\0';

	if (failed)
		memcpy(error, s->error, sizeof(error));
	else
		s->root = NULL;
	reset(s);
	return s->fn(s->arg, failed ? NULL : value, failed ? error : NULL);
}

/* Whether the grammar has room for a value or key here; else the error is set. */
static bool may_place(struct json_stream *s)
{
	if (s->error[0])
		return false;
	if (s->expect == EXPECT_COLON)
		fail(s, "missing : in object pair");
	else if (s->expect == EXPECT_SEPARATOR)
		fail(s, json_is_object(s->stack[s->depth - 1]) ? "expected separator in dict"
							       : "expected separator in list");
	return !s->error[0];
}

/* Put a value, whose reference passes on, where the grammar stands. */
static void place(struct json_stream *s, json_t *value)
{
	json_t *parent = s->depth > 0 ? s->stack[s->depth - 1] : NULL;

	if (may_place(s) && (s->expect == EXPECT_KEY || s->expect == EXPECT_KEY_OR_END))
		fail(s, "key is not a string in object");
	if (s->error[0]) {
		json_decref(value);
		return;
	}
	if (!parent) {
		s->root = value;
	} else if (json_is_array(parent)) {
		json_array_append_new(parent, value);
	} else {
		size_t before = json_object_size(parent);

		json_object_setn_new_nocheck(parent, s->key, s->key_length, value);
		if (json_object_size(parent) == before)
			fail(s, "duplicate key");
	}
	s->expect = EXPECT_SEPARATOR;
}

static void push(struct json_stream *s, json_t *container)
{
	place(s, container);
	if (s->error[0])
		return;
	if (s->depth == s->stack_capacity) {
		s->stack_capacity = MAX(16, s->stack_capacity * 2);
		s->stack = xrealloc(s->stack, s->stack_capacity, sizeof(s->stack[0]));
	}
	s->stack[s->depth++] = container;
	s->expect = json_is_object(container) ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
}

static void pop(struct json_stream *s, bool is_object)
{
	bool may_end = s->expect == EXPECT_SEPARATOR ||
		       s->expect == (is_object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END);

	if (s->error[0])
		return;
	if (s->depth > 0 && json_is_object(s->stack[s->depth - 1]) == is_object && may_end) {
		s->depth--;
		s->expect = EXPECT_SEPARATOR;
	} else if (may_place(s)) {
		fail(s, "expecting value");
	}
}

static void separator(struct json_stream *s, char c)
{
	bool in_object = s->depth > 0 && json_is_object(s->stack[s->depth - 1]);

	if (s->error[0])
		return;
	if (c == ':' && s->expect == EXPECT_COLON)
		s->expect = EXPECT_VALUE;
	else if (c == ',' && s->expect == EXPECT_SEPARATOR)
		s->expect = in_object ? EXPECT_KEY : EXPECT_VALUE;
	else if (may_place(s))
		fail(s, "expecting value");
}

static void string_token(struct json_stream *s, const char *text, size_t length)
{
	bool is_key = s->expect == EXPECT_KEY || s->expect == EXPECT_KEY_OR_END;
	char problem[ERROR_SIZE - 32];
	char *decoded = NULL;
	ptrdiff_t n;

	if (!may_place(s))
		return;
	if (is_key) {
		reserve(&s->key, &s->key_capacity, length + 1);
		decoded = s->key;
	} else if (!s->plain) {
		decoded = xalloc(length + 1, 1);
	}
	if (!s->plain) {
		n = json_string_decode(text, length, decoded, problem, sizeof(problem));
		if (n < 0)
			fail(s, problem);
		length = n < 0 ? 0 : (size_t)n;
	} else if (is_key) {
		memcpy(decoded, text, length);
	}
	if (is_key) {
		s->key_length = length;
		s->expect = EXPECT_COLON;
		return;
	}
	place(s, json_stringn_nocheck(s->plain ? text : decoded, length));
	free(decoded);
}

/* @text is not terminated. Whole numbers beyond 64 bits become real; NULL: beyond those, too. */
static json_t *number_value(const char *text, size_t length, bool is_whole)
{
	char small[48];
	char *copy = length < sizeof(small) ? small : xalloc(length + 1, 1);
	json_t *value = NULL;
	long long whole;

	memcpy(copy, text, length);
	copy[length] = '\0';
	if (is_whole) {
		errno = 0;
		whole = strtoll(copy, NULL, 10);
		if (errno == 0)
			value = json_integer(whole);
	}
	if (!value)
		value = json_real(strtod(copy, NULL)); /* NULL when that is infinite */
	if (copy != small)
		free(copy);
	return value;
}

static void number_token(struct json_stream *s, const char *text, size_t length, bool is_whole)
{
	json_t *value;

	if (!may_place(s))
		return;
	value = number_value(text, length, is_whole);
	if (value)
		place(s, value);
	else
		fail(s, "number out of range");
}

static void word_token(struct json_stream *s, const char *text, size_t length)
{
	char problem[ERROR_SIZE - 32];

	if (!may_place(s))
		return;
	if (length == 4 && memcmp(text, "true", 4) == 0) {
		place(s, json_true());
	} else if (length == 5 && memcmp(text, "false", 5) == 0) {
		place(s, json_false());
	} else if (length == 4 && memcmp(text, "null", 4) == 0) {
		place(s, json_null());
	} else {
		snprintf(problem, sizeof(problem), "invalid keyword '%.*s'", (int)MIN(length, 64),
			 text);
		fail(s, problem);
	}
}

/* Count the token in. False when a limit is passed, which is then s->error. */
static bool account(struct json_stream *s, size_t length)
{
	const char *limit = NULL;

	s->size += length;
	s->tokens++;
	if (s->size > JSON_SIZE_MAX)
		limit = "JSON token size limit exceeded";
	else if (s->tokens > JSON_TOKEN_COUNT_MAX)
		limit = "JSON token count limit exceeded";
	else if (s->braces + s->brackets > JSON_DEPTH_MAX)
		limit = "JSON nesting depth limit exceeded";
	if (limit)
		snprintf(s->error, sizeof(s->error), "%s", limit);
	return !limit;
}

/* A token is complete. Returns false when fn wants no more. */
static bool token(struct json_stream *s, enum lex lex, const char *text, size_t length)
{
	if (s->token_length > 0) {
		reserve(&s->token, &s->token_capacity, s->token_length + length + 1);
		memcpy(s->token + s->token_length, text, length);
		length += s->token_length;
		text = s->token;
		s->token_length = 0;
	}
	if (!account(s, length))
		return deliver(s);
	if (lex == LEX_STRING)
		string_token(s, text + 1, length - 2);
	else if (lex == LEX_WORD)
		word_token(s, text, length);
	else
		number_token(s, text, length, lex <= LEX_DIGITS);
	if (s->braces <= 0 && s->brackets <= 0)
		return deliver(s);
	return true;
}

/* One of {}[],: */
static bool structure(struct json_stream *s, char c)
{
	s->braces += (c == '{') - (c == '}');
	s->brackets += (c == '[') - (c == ']');
	if (!account(s, 1))
		return deliver(s);
	if (c == '{' || c == '[')
		push(s, s->error[0] ? NULL : c == '{' ? json_object() : json_array());
	else if (c == '}' || c == ']')
		pop(s, c == '}');
	else
		separator(s, c);
	if (s->braces < 0 || s->brackets < 0 || (s->braces == 0 && s->brackets == 0))
		return deliver(s);
	return true;
}

/* A byte that no token can go on with; @text is the token's last part and ends with it. */
static bool stray(struct json_stream *s, const char *text, size_t length)
{
	char shown[64];
	size_t n = 0;

	for (size_t i = 0; i < s->token_length && n < sizeof(shown) - 1; i++)
		shown[n++] = s->token[i];
	for (size_t i = 0; i < length && n < sizeof(shown) - 1; i++)
		shown[n++] = text[i];
	s->error[0] = '\0';
	snprintf(s->error, sizeof(s->error), "JSON parse error, stray '%.*s'", (int)n, shown);
	s->lex = LEX_RECOVER;
	return deliver(s);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_structure(char c)
{
	return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The state that the first byte of a token leads to; LEX_START when it begins none. */
static enum lex first_state(char c)
{
	if (c == '"' || c == '\'')
		return LEX_STRING;
	if (c == '-')
		return LEX_MINUS;
	if (c == '0')
		return LEX_ZERO;
	if (is_digit(c))
		return LEX_DIGITS;
	return c >= 'a' && c <= 'z' ? LEX_WORD : LEX_START;
}

/* Where a byte leads from inside a number or word; LEX_START: the token ended before it. */
static enum lex next_state(enum lex lex, char c)
{
	switch (lex) {
	case LEX_MINUS:
		return c == '0' ? LEX_ZERO : is_digit(c) ? LEX_DIGITS : LEX_RECOVER;
	case LEX_ZERO:
		if (is_digit(c))
			return LEX_RECOVER;
		/* fall through */
	case LEX_DIGITS:
		if (is_digit(c))
			return LEX_DIGITS;
		return c == '.' ? LEX_POINT : c == 'e' || c == 'E' ? LEX_EXPONENT : LEX_START;
	case LEX_POINT:
		return is_digit(c) ? LEX_FRACTION : LEX_RECOVER;
	case LEX_FRACTION:
		return is_digit(c) ? lex : c == 'e' || c == 'E' ? LEX_EXPONENT : LEX_START;
	case LEX_EXPONENT:
		if (c == '+' || c == '-')
			return LEX_SIGN;
		/* fall through */
	case LEX_SIGN:
		return is_digit(c) ? LEX_POWER : LEX_RECOVER;
	case LEX_POWER:
		return is_digit(c) ? lex : LEX_START;
	default:
		return c >= 'a' && c <= 'z' ? lex : LEX_START;
	}
}

/* Scan a string from @p; returns where it stops: behind the closing quote, at a bad byte or @end. */
static const char *scan_string(struct json_stream *s, const char *p, const char *end)
{
	for (; p < end; p++) {
		if (s->lex == LEX_ESCAPE) {
			if (string_class[(unsigned char)*p] == CLASS_BAD)
				return p;
			s->lex = LEX_STRING;
			continue;
		}
		switch (string_class[(unsigned char)*p]) {
		case CLASS_PLAIN:
			break;
		case CLASS_QUOTE:
			if (*p != s->quote)
				break;
			s->lex = LEX_START;
			return p + 1;
		case CLASS_BACKSLASH:
			s->lex = LEX_ESCAPE;
			/* fall through */
		case CLASS_HIGH:
			s->plain = false;
			break;
		default:
			return p;
		}
	}
	return p;
}

/* Go on with the token that began at @start (in this chunk). *ret_go_on: fn wants more. */
static const char *feed_token(struct json_stream *s, const char *start, const char *p,
			      const char *end, bool *ret_go_on)
{
	if (s->lex == LEX_STRING || s->lex == LEX_ESCAPE) {
		p = scan_string(s, p, end);
		if (s->lex == LEX_START) {
			*ret_go_on = token(s, LEX_STRING, start, (size_t)(p - start));
			return p;
		}
		if (p < end) {
			*ret_go_on = stray(s, start, (size_t)(p + 1 - start));
			return p + 1;
		}
	}
	while (p < end) {
		enum lex lex = s->lex, next = next_state(lex, *p);

		if (next == LEX_START) {
			s->lex = LEX_START;
			*ret_go_on = token(s, lex, start, (size_t)(p - start));
			return p;
		}
		p++;
		if (next == LEX_RECOVER) {
			*ret_go_on = stray(s, start, (size_t)(p - start));
			return p;
		}
		s->lex = next;
	}
	/* The chunk ends inside the token. Beyond the limit its bytes no longer matter. */
	if (s->size + s->token_length + (size_t)(p - start) > JSON_SIZE_MAX) {
		s->token_length = 0;
		snprintf(s->error, sizeof(s->error), "JSON token size limit exceeded");
		s->lex = LEX_RECOVER;
		*ret_go_on = deliver(s);
		return p;
	}
	reserve(&s->token, &s->token_capacity, s->token_length + (size_t)(p - start));
	memcpy(s->token + s->token_length, start, (size_t)(p - start));
	s->token_length += (size_t)(p - start);
	return p;
}

size_t json_stream_feed(struct json_stream *s, const char *bytes, size_t n)
{
	const char *p = bytes, *end = bytes + n;
	bool go_on = true;

	while (p < end && go_on) {
		char c = *p;

		if (s->lex == LEX_RECOVER) {
			if (is_structure(c) || c == '\n')
				s->lex = LEX_START;
			else
				p++;
		} else if (s->lex != LEX_START) {
			p = feed_token(s, p, p, end, &go_on);
		} else if (is_structure(c)) {
			p++;
			go_on = structure(s, c);
		} else if (is_space(c)) {
			p++;
		} else if ((s->lex = first_state(c)) != LEX_START) {
			s->quote = c;
			s->plain = true;
			p = feed_token(s, p, p + 1, end, &go_on);
		} else {
			p++;
			go_on = stray(s, p - 1, 1);
		}
	}
	return (size_t)(p - bytes);
}

void json_stream_end(struct json_stream *s)
{
	enum lex lex = s->lex;

	s->lex = LEX_START;
	if (lex == LEX_ZERO || lex == LEX_DIGITS || lex == LEX_FRACTION || lex == LEX_POWER ||
	    lex == LEX_WORD)
		token(s, lex, "", 0);
	else if (lex != LEX_START && lex != LEX_RECOVER)
		s->tokens++;
	if (is_under_way(s)) {
		fail(s, "premature EOI");
		deliver(s);
	}
	reset(s);
}

bool json_stream_is_idle(const struct json_stream *s)
{
	return s->tokens == 0 && (s->lex == LEX_START || s->lex == LEX_RECOVER);
}

struct json_stream *json_stream_new(json_stream_fn *fn, void *arg)
{
	struct json_stream *s = NEW(struct json_stream);

	s->fn = fn;
	s->arg = arg;
	return s;
}

void json_stream_free(struct json_stream *s)
{
	if (!s)
		return;
	reset(s);
	free(s->token);
	free(s->stack);
	free(s->key);
	free(s);
}
