// A JSON schema on standard input to GBNF on standard output, by llama.cpp's own converter (its `common` folder).
// The few helpers that the converter takes from llama.cpp's large common.cpp stand here, so that nothing else is built.

#include "json-schema-to-grammar.h"

#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

std::string string_repeat(const std::string & text, size_t count) {
    std::string result;
    while (count-- > 0) {
        result += text;
    }
    return result;
}

std::string string_join(const std::vector<std::string> & parts, const std::string & between) {
    std::string result;
    for (size_t place = 0; place < parts.size(); ++place) {
        result += (place ? between : "") + parts[place];
    }
    return result;
}

std::vector<std::string> string_split(const std::string & text, const std::string & mark) {
    std::vector<std::string> parts;
    size_t start = 0;
    for (size_t end = text.find(mark); end != std::string::npos; end = text.find(mark, start)) {
        parts.push_back(text.substr(start, end - start));
        start = end + mark.size();
    }
    parts.push_back(text.substr(start));
    return parts;
}

extern "C" void ggml_abort(const char *, int, const char *, ...) {
    std::abort();
}

int main() {
    const std::string schema((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
    std::cout << json_schema_to_grammar(common_json::parse(schema), true);
}
