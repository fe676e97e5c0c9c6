/*
 * json_fields.cc: mutated JSON documents through extension/format_json.cc, with simdjson's own DOM parser as the oracle.
 *
 * It proves: no read outside a document (each lies in a heap block of its exact size, under AddressSanitizer); what
 * we call grammatical simdjson's parser calls so too, and the other way round; the fields found have the values of the
 * DOM's; what is unescaped is what the DOM unescapes. Known differences: nesting (1000 here), numbers too large for a double
 * (their text is kept here), escapes inside strings that nobody asked for (not looked at here).
 *
 * S='-g -O1 -fsanitize=address,undefined -Iextension'; gcc $S -c extension/json_unescape.c -o /tmp/json_unescape.o &&
 * g++ -std=c++17 $S regress/unit/json_fields.cc extension/format_json.cc /tmp/json_unescape.o -lsimdjson -o /tmp/json_fields &&
 * /tmp/json_fields [SEED [ROUNDS]]
 */
#include "format_json.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>
#include <simdjson.h>

static const char *const seeds[] = {
	R"({"a":1,"b":{"c":"x","d":[1,2,{"e":null}]},"z":true})",
	R"( { "a" : -0.5e-3 , "b" : { "c" : "\u00e4\ud83d\ude00\n" } , "b" : { } } )",
	R"([1,"two",[3,[4]],{"a":5},null,false])",
	R"({"\u0061":"k","b":null,"u":"äöü€😀","n":12345678901234567890,"e":1E+5})",
	R"({"a":"a long text of more than sixty-four bytes, so that it spans two blocks of the first stage","b":{"c":{}}})",
	R"("bare")", "12", "null", "{}", "[]"
};
static const char tokens[] = "{}[]:,\"\\ \n\t-+.eE0123456789truefalsn\x01\x80\xc3\xff";
static std::mt19937_64 rng;

static size_t
below(size_t n)
{
	return rng() % n;
}

/* Makes a document: a seed with some bytes changed, put in, taken out, doubled or cut off. */
static std::string
mutate()
{
	std::string s = seeds[below(sizeof(seeds) / sizeof(*seeds))];

	for (size_t n = below(4); n > 0 && !s.empty(); n--)
		switch (below(5))
		{
			case 0:
				s[below(s.size())] = tokens[below(sizeof(tokens) - 1)];
				break;
			case 1:
				s.insert(below(s.size() + 1), 1, tokens[below(sizeof(tokens) - 1)]);
				break;
			case 2:
				s.erase(below(s.size()), 1 + below(3));
				break;
			case 3:
				s.insert(below(s.size() + 1), s.substr(below(s.size()), below(20)));
				break;
			default:
				s.resize(below(s.size() + 1));
		}
	return s;
}

[[noreturn]] static void
differ(const std::string &s, const char *what)
{
	fprintf(stderr, "%s\ndocument: %s\n", what, s.c_str());
	abort();
}

/* Are all escapes of a document's strings sound? Those nobody asked for are the DOM's business alone. */
static bool
escapes_are_fine(const std::string &s)
{
	bool inside = false;

	for (size_t i = 0; i < s.size(); i++)
	{
		size_t from = i + 1;

		if (s[i] != '"')
			continue;
		inside = !inside;
		if (!inside)
			continue;
		while (i + 1 < s.size() && s[i + 1] != '"')
			i += s[i + 1] == '\\' ? 2 : 1;
		std::vector<char> out(i + 2 - from);
		size_t len;
		JsonFault fault = kv_json_unescape(s.data() + from, i + 1 - from, out.data(), &len);
		if (fault != JSON_FINE && fault != JSON_NUL)
			return false;
	}
	return true;
}

static void
compare_field(const std::string &s, const JsonField &field, simdjson::dom::element element)
{
	switch (field.kind)
	{
		case FIELD_STRING:
			{
				std::vector<char> out(field.len + 1);
				size_t len;
				std::string_view expected;

				if (kv_json_unescape(field.text, field.len, out.data(), &len) != JSON_FINE)
					return;
				if (element.get(expected) || expected != std::string_view(out.data(), len))
					differ(s, "another string");
				return;
			}
		case FIELD_NUMBER:
			if (!element.is_number() || strtod(std::string(field.text, field.len).c_str(), nullptr) != element.get_double().value_unsafe())
				differ(s, "another number");
			return;
		case FIELD_OBJECT:
			if (!element.is_object() || field.text[0] != '{' || field.text[field.len - 1] != '}')
				differ(s, "not the object");
			return;
		case FIELD_ARRAY:
			if (!element.is_array() || field.text[0] != '[' || field.text[field.len - 1] != ']')
				differ(s, "not the array");
			return;
		case FIELD_NULL:
			if (!element.is_null())
				differ(s, "not null");
			return;
		case FIELD_TRUE:
		case FIELD_FALSE:
			if (!element.is_bool() || element.get_bool().value_unsafe() != (field.kind == FIELD_TRUE))
				differ(s, "another boolean");
			return;
		case FIELD_ABSENT:
			differ(s, "absent");
	}
}

/* Gives the last member of a name, as we do; the DOM's own lookup gives the first. */
static bool
last_member(simdjson::dom::element element, const char *name, simdjson::dom::element *found)
{
	simdjson::dom::object object;
	bool any = false;

	if (element.get(object))
		return false;
	for (auto member : object)
		if (member.key == name)
		{
			*found = member.value;
			any = true;
		}
	return any;
}

int
main(int argc, char **argv)
{
	unsigned long seed = argc > 1 ? strtoul(argv[1], nullptr, 10) : std::random_device()();
	long rounds = argc > 2 ? atol(argv[2]) : 1000000;
	long grammatical = 0;
	JsonParser *ours = kv_json_parser_make();
	simdjson::dom::parser dom;
	/* wanted: the whole, "a", "b", "b"."c" */
	JsonNode c = {"c", 1, true, 3, 3, 4, 0, nullptr};
	JsonNode children[] = {{"a", 1, true, 1, 1, 2, 0, nullptr}, {"b", 1, true, 2, 2, 4, 1, &c}};
	JsonNode root = {nullptr, 0, true, 0, 0, 4, 2, children};

	printf("seed %lu\n", seed);
	rng.seed(seed);
	for (long i = 0; i < rounds; i++)
	{
		std::string s = mutate();
		char *exact = static_cast<char *>(malloc(s.size() ? s.size() : 1));
		JsonField fields[4];
		size_t position;
		simdjson::dom::element element;

		memcpy(exact, s.data(), s.size());
		JsonFault fault = kv_json_extract(ours, exact, s.size(), &root, fields, &position);
		simdjson::error_code error = dom.parse(s).get(element);
		if (position > s.size())
			differ(s, "the fault is outside");
		if (fault != JSON_FINE && error == simdjson::SUCCESS)
			differ(s, kv_json_fault_text(fault));
		if (fault == JSON_FINE && error != simdjson::SUCCESS && error != simdjson::NUMBER_ERROR &&
			escapes_are_fine(s))
			differ(s, simdjson::error_message(error));
		if (fault == JSON_FINE && error == simdjson::SUCCESS)
		{
			simdjson::dom::element a, b, bc;

			grammatical++;
			compare_field(s, fields[0], element);
			if (last_member(element, "a", &a))
				compare_field(s, fields[1], a);
			else if (fields[1].kind != FIELD_ABSENT)
				differ(s, "a is not there");
			if (last_member(element, "b", &b))
				compare_field(s, fields[2], b);
			if (last_member(element, "b", &b) && last_member(b, "c", &bc))
				compare_field(s, fields[3], bc);
			else if (fields[3].kind != FIELD_ABSENT)
				differ(s, "b.c is not there");
			if (element.is_object() || element.is_array())
			{
				JsonMember members[4];
				size_t count;

				if (kv_json_members(ours, exact, s.size(), members, 4, &count) != JSON_FINE ||
					count != (element.is_array() ? simdjson::dom::array(element).size() : simdjson::dom::object(element).size()))
					differ(s, "another number of members");
			}
		}
		free(exact);
	}
	kv_json_parser_free(ours);
	printf("%ld documents, %ld of them grammatical\n", rounds, grammatical);
	return 0;
}
