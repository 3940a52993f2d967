# LLVM/MLIR 22 and the rules for targets that use them.
find_package(MLIR REQUIRED CONFIG PATHS /usr/lib/llvm-22/lib/cmake/mlir)
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "Quern is written for LLVM 22; found ${LLVM_PACKAGE_VERSION}")
endif()
message(STATUS "MLIR ${LLVM_PACKAGE_VERSION} in ${MLIR_DIR}")
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

add_library(quern_mlir_flags INTERFACE)
target_include_directories(quern_mlir_flags SYSTEM INTERFACE
  ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_options(quern_mlir_flags INTERFACE -fno-exceptions)
target_link_libraries(quern_mlir_flags INTERFACE quern_flags fmt::fmt)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # MLIR tells types and traits apart by the address of a template's static.
  # libMLIR's must be ours: by name, as clang's build of it falls back to, g++
  # spells them differently.
  target_compile_options(quern_mlir_flags INTERFACE
    -fvisibility=default -fno-visibility-inlines-hidden)
endif()

# Header parsing is nearly all of the compile time of MLIR code: one
# precompiled header serves every target.
add_library(quern_pch STATIC "${PROJECT_SOURCE_DIR}/cmake/pch.cpp")
target_link_libraries(quern_pch PUBLIC quern_mlir_flags)
target_precompile_headers(quern_pch PRIVATE "${PROJECT_SOURCE_DIR}/cmake/pch.h")
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Without the time stamp ccache can share the header between build trees.
  target_compile_options(quern_mlir_flags INTERFACE -Xclang -fno-pch-timestamp)
endif()

# quern_mlir_library(NAME SOURCES ... LINK ... DEPENDS ...): a static library
# that uses MLIR; DEPENDS are TableGen targets it needs first.
function(quern_mlir_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC quern_mlir_flags ${ARG_LINK} MLIR LLVM)
  target_precompile_headers(${name} REUSE_FROM quern_pch)
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
endfunction()

# quern_tablegen(TARGET td-file args...): runs mlir-tblgen in the current
# folder; `args` come in pairs (output generator).
function(quern_tablegen target td)
  set(LLVM_TARGET_DEFINITIONS "${CMAKE_CURRENT_SOURCE_DIR}/${td}")
  set(TABLEGEN_OUTPUT "")
  set(args ${ARGN})
  while(args)
    list(POP_FRONT args output generator)
    separate_arguments(generator)
    mlir_tablegen(${output} ${generator} "-I${PROJECT_SOURCE_DIR}"
      EXTRA_INCLUDES ${MLIR_INCLUDE_DIRS})
  endwhile()
  add_public_tablegen_target(${target})
endfunction()

# quern_dialect_doc(DIALECT td-file): docs/dialects/DIALECT.md is generated from
# the ops' descriptions and committed; the target `docs` writes it again, and a
# test fails while it is stale.
function(quern_dialect_doc dialect td)
  set(committed "${PROJECT_SOURCE_DIR}/docs/dialects/${dialect}.md")
  set(fresh "${CMAKE_CURRENT_BINARY_DIR}/${dialect}.md")
  set(includes "-I${PROJECT_SOURCE_DIR}")
  foreach(folder IN LISTS MLIR_INCLUDE_DIRS)
    list(APPEND includes "-I${folder}")
  endforeach()
  set(generate "$<TARGET_FILE:mlir-tblgen>" -gen-dialect-doc -dialect=${dialect}
    ${includes} "${CMAKE_CURRENT_SOURCE_DIR}/${td}" -o "${fresh}")
  add_custom_target(${dialect}-doc
    COMMAND ${generate}
    COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${fresh}" "${committed}")
  if(NOT TARGET docs)
    add_custom_target(docs)
  endif()
  add_dependencies(docs ${dialect}-doc)
  if(QUERN_BUILD_TESTS)
    add_test(NAME docs.${dialect}
      COMMAND sh -c "$<JOIN:${generate}, > && cmp ${fresh} ${committed} || { echo 'stale: build the target docs'; exit 1; }")
    set_tests_properties(docs.${dialect} PROPERTIES LABELS docs)
  endif()
endfunction()
