# Writes OUTPUT, a C++ file that holds the device headers named by TEMPLATES (a
# templates.inc) as string literals, so that the compiler carries them with it.
#   cmake -DTEMPLATES=... -DROOT=.../cuda -DOUTPUT=... -P EmbedHeaders.cmake
file(STRINGS "${TEMPLATES}" lines REGEX "^QUERN_TEMPLATE_HEADER")
set(text "// Generated from templates.inc by EmbedHeaders.cmake.\n")
string(APPEND text "#include \"kernels_templates/Embedded.h\"\n\n")
string(APPEND text "static constexpr quern::EmbeddedHeader headers[] = {\n")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "^.*\\(\"(.*)\"\\).*$" "\\1" path "${line}")
  file(READ "${ROOT}/${path}" body)
  # The delimiter never occurs in a header.
  string(APPEND text "    {\"${path}\", R\"quern~(${body})quern~\"},\n")
endforeach()
string(APPEND text "};\n\n")
string(APPEND text "std::span<const quern::EmbeddedHeader> quern::embeddedHeaders() {\n")
string(APPEND text "  return headers;\n}\n")
file(WRITE "${OUTPUT}" "${text}")
