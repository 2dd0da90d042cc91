/* SPDX-License-Identifier: MIT */
/*
 * "graph": who uses which nodes, drawn as trees.
 *
 * Each user, and each node that nobody uses, is a root. A node below several is drawn with the
 * first. A backing file stands below its overlay in the same column: chains may be long.
 */
#include <stdio.h>
#include <string.h>

#include "tools/client/client.h"

/* Deeper than any graph that a daemon makes, but for chains of backing files. */
#define DEPTH_MAX 64

struct marks {
	const char *child, *last, *backing, *through;
};

static const struct marks utf8_marks = {"├─ ", "└─ ", "▼  ", "│  "};
static const struct marks ascii_marks = {"|- ", "`- ", "v  ", "|  "};

struct picture {
	json_t *nodes, *edges; /* of x-debug-query-block-graph */
	json_t *details;       /* object: node name to what query-named-block-nodes tells */
	json_t *jobs;          /* of query-jobs */
	json_t *drawn;         /* object: the IDs of nodes as keys */
	const struct marks *marks;
};

static json_int_t number(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

static json_t *find_node(const struct picture *p, json_int_t id)
{
	size_t i;
	json_t *node;
	json_array_foreach (p->nodes, i, node) {
		if (number(node, "id") == id)
			return node;
	}
	return NULL;
}

static bool is_driver(const json_t *node)
{
	return string_equal(schema_text(node, "type"), "block-driver");
}

static bool is_backing(const json_t *edge)
{
	return string_equal(schema_text(edge, "name"), "backing");
}

/* --- What is said of a node ---------------------------------------------------------------- */

static bool has_child(const struct picture *p, const json_t *node)
{
	size_t i;
	json_t *edge;
	json_array_foreach (p->edges, i, edge) {
		if (number(edge, "parent") == number(node, "id"))
			return true;
	}
	return false;
}

static char *describe_driver(const struct picture *p, const json_t *node)
{
	const json_t *d = json_object_get(p->details, schema_text(node, "name"));
	const char *file = schema_text(d, "file"), *driver = schema_text(d, "drv");
	bool is_leaf = !has_child(p, node);
	char *size _cleanup_free_ =
		text_size((uint64_t)number(json_object_get(d, "image"), "virtual-size"));
	if (!d)
		return xstrdup("");
	return xasprintf("  %s, %s%s%s%s", driver ? driver : "?", size,
			 json_is_true(json_object_get(d, "ro")) ? ", read-only" : "",
			 is_leaf && file ? ", " : "", is_leaf && file ? file : "");
}

static char *describe_job(const struct picture *p, const json_t *node)
{
	size_t i;
	json_t *job;
	json_array_foreach (p->jobs, i, job) {
		if (!string_equal(schema_text(job, "id"), schema_text(node, "name")))
			continue;
		return xasprintf("  %s, %s, %u%%", schema_text(job, "type"), schema_text(job, "status"),
				 client_job_percent(job));
	}
	return xstrdup("");
}

static char *describe(const struct picture *p, const json_t *node)
{
	const char *name = schema_text(node, "name"), *type = schema_text(node, "type");
	bool is_job = string_equal(type, "block-job");
	char *more _cleanup_free_ = is_driver(node) ? describe_driver(p, node)
				    : is_job	    ? describe_job(p, node)
						    : xstrdup("");
	if (is_driver(node) || (name && *name && !is_job))
		return xasprintf("%s%s", name, more);
	return is_job ? xasprintf("job '%s'%s", name, more) : xstrdup("an unnamed user");
}

/* --- Trees --------------------------------------------------------------------------------- */

static bool mark_drawn(struct picture *p, const json_t *node)
{
	char *key _cleanup_free_ = xasprintf("%lld", (long long)number(node, "id"));
	if (json_object_get(p->drawn, key))
		return false;
	json_object_set_new(p->drawn, key, json_true());
	return true;
}

/* The next edge from @node to a child, or to a backing file, from number *i on. */
static json_t *next_edge(const struct picture *p, const json_t *node, bool to_backing, size_t *i)
{
	for (; *i < json_array_size(p->edges); ++*i) {
		json_t *edge = json_array_get(p->edges, *i);
		if (number(edge, "parent") == number(node, "id") && is_backing(edge) == to_backing) {
			++*i;
			return edge;
		}
	}
	return NULL;
}

static void draw_below(struct picture *p, const json_t *node, const char *indent, unsigned depth);

/* The line of a child; true when what is below it is still to be drawn. */
static bool draw_line(struct picture *p, const json_t *edge, const char *indent, const char *mark,
		      const json_t **ret_child)
{
	const json_t *child = find_node(p, number(edge, "child"));
	char *text _cleanup_free_ = describe(p, child);
	bool is_first = child && mark_drawn(p, child);
	*ret_child = child;
	if (is_first)
		printf("%s%s%s: %s\n", indent, mark, schema_text(edge, "name"), text);
	else
		printf("%s%s%s: %s  (above)\n", indent, mark, schema_text(edge, "name"),
		       child ? schema_text(child, "name") : "?");
	return is_first;
}

/* The children of @node but its backing file. */
static void draw_children(struct picture *p, const json_t *node, const char *indent, bool is_end,
			  unsigned depth)
{
	size_t i = 0;
	json_t *edge = next_edge(p, node, false, &i);
	while (edge) {
		json_t *following = next_edge(p, node, false, &i);
		bool is_last = is_end && !following;
		const json_t *child;
		char *inner _cleanup_free_ =
			xasprintf("%s%s", indent, is_last ? "   " : p->marks->through);
		if (draw_line(p, edge, indent, is_last ? p->marks->last : p->marks->child, &child))
			draw_below(p, child, inner, depth + 1);
		edge = following;
	}
}

/* All that is below @node, down the chain of its backing files. */
static void draw_below(struct picture *p, const json_t *node, const char *indent, unsigned depth)
{
	while (node && depth < DEPTH_MAX) {
		size_t i = 0;
		const json_t *backing = next_edge(p, node, true, &i), *child;
		draw_children(p, node, indent, !backing, depth);
		if (!backing || !draw_line(p, backing, indent, p->marks->backing, &child))
			return;
		node = child;
	}
}

static void draw_root(struct picture *p, const json_t *node)
{
	if (!mark_drawn(p, node))
		return;
	char *text _cleanup_free_ = describe(p, node);
	puts(text);
	draw_below(p, node, "", 0);
}

static bool is_used(const struct picture *p, const json_t *node)
{
	size_t i;
	json_t *edge;
	json_array_foreach (p->edges, i, edge) {
		if (number(edge, "child") == number(node, "id"))
			return true;
	}
	return false;
}

/* Exports first, below which stands what a client sees. Jobs last: they use what others do. */
static void draw(struct picture *p)
{
	p->marks = text_is_utf8() ? &utf8_marks : &ascii_marks;
	static const char *const types[] = {"block-backend", "block-driver", "block-job"};
	for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
		size_t i;
		json_t *node;
		json_array_foreach (p->nodes, i, node) {
			if (string_equal(schema_text(node, "type"), types[t]) && !is_used(p, node))
				draw_root(p, node);
		}
	}
}

/* --- For graphviz -------------------------------------------------------------------------- */

/* @s within the quotes of the dot language. */
static void print_quoted(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s);
	}
	putchar('"');
}

static void print_dot(const struct picture *p)
{
	size_t i;
	json_t *json;
	puts("digraph nodes {");
	json_array_foreach (p->nodes, i, json) {
		char *text _cleanup_free_ = describe(p, json);
		printf("\t%lld [shape=%s, label=", (long long)number(json, "id"),
		       is_driver(json) ? "box" : "ellipse");
		print_quoted(text);
		puts("];");
	}
	json_array_foreach (p->edges, i, json) {
		const char *name = schema_text(json, "name");
		printf("\t%lld -> %lld [label=", (long long)number(json, "parent"),
		       (long long)number(json, "child"));
		print_quoted(name ? name : "");
		puts("];");
	}
	puts("}");
}

/* --- What the daemon says ------------------------------------------------------------------ */

static int get_details(struct session *s, struct picture *p, struct error **errp)
{
	json_t *list _cleanup_json_ = NULL;
	int r = session_execute(s, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), &list,
				errp);
	size_t i;
	json_t *node;
	p->details = json_object();
	json_array_foreach (list, i, node) {
		const char *name = schema_text(node, "node-name");
		if (name)
			json_object_set(p->details, name, node);
	}
	return r;
}

static int look(struct session *s, struct picture *p, struct error **errp)
{
	json_t *graph _cleanup_json_ = NULL;
	int r = session_execute(s, "x-debug-query-block-graph", NULL, &graph, errp);
	if (r >= 0)
		r = get_details(s, p, errp);
	if (r >= 0)
		r = session_execute(s, "query-jobs", NULL, &p->jobs, errp);
	if (r < 0)
		return r;
	p->nodes = json_incref(json_object_get(graph, "nodes"));
	p->edges = json_incref(json_object_get(graph, "edges"));
	p->drawn = json_object();
	return 0;
}

int client_graph(struct session *s, int argc, char **argv, struct error **errp)
{
	bool is_dot = argc == 1 && strcmp(argv[0], "--dot") == 0;
	if (argc > 0 && !is_dot)
		return error_set(errp, -EINVAL, "'graph' takes no argument but --dot");
	struct picture p = {0};
	int r = look(s, &p, errp);
	if (r >= 0 && is_dot)
		print_dot(&p);
	else if (r >= 0)
		draw(&p);
	json_release(p.nodes);
	json_release(p.edges);
	json_release(p.details);
	json_release(p.jobs);
	json_release(p.drawn);
	return r;
}
