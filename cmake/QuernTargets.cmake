# Flags every Quern target is built with.
add_library(quern_flags INTERFACE)
target_include_directories(quern_flags INTERFACE
  "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}")
target_compile_options(quern_flags INTERFACE
  -Wall -Wextra -Wno-unused-parameter
  # Generated bits must not depend on what the host compiler may contract.
  -ffp-contract=off
  $<$<CXX_COMPILER_ID:Clang>:-Wno-unused-local-typedef>
  # gcc 12 warns of its own std::string's assignment (its bug 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<BOOL:${QUERN_WERROR}>:-Werror>)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

# quern_library(NAME SOURCES ... LINK ...): a static library without LLVM.
function(quern_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC quern_flags ${ARG_LINK})
endfunction()

# quern_test(NAME SOURCES ... LINK ... LABELS ...): a GoogleTest executable,
# each of its tests registered with ctest.
function(quern_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE quern_flags ${ARG_LINK} GTest::gtest_main GTest::gmock)
  set(properties TIMEOUT ${ARG_TIMEOUT})
  if(ARG_LABELS)
    list(PREPEND properties LABELS "${ARG_LABELS}")
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES ${properties})
endfunction()
