# Builds the project in project/ against the installed package or with Quern as
# a subdirectory, and runs it.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result
    OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed: ${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${FOLDER}/build" "${FOLDER}/prefix")
if(MODE STREQUAL "installed")
  run("${CMAKE_COMMAND}" --install "${QUERN_BUILD}" --component runtime
    --prefix "${FOLDER}/prefix")
  # A sanitized library asks for a program with the same flags.
  set(where "-DCMAKE_PREFIX_PATH=${FOLDER}/prefix"
    "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
else()
  set(where "-DQUERN_SOURCE=${QUERN_SOURCE}")
endif()
run("${CMAKE_COMMAND}" -G "${GENERATOR}" -S "${CMAKE_CURRENT_LIST_DIR}/project"
  -B "${FOLDER}/build" ${where}
  -DCMAKE_BUILD_TYPE=Debug # Compiles faster.
  "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_C_COMPILER=${CC}"
  "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}"
  "-DCMAKE_SHARED_LINKER_FLAGS=${LINK_FLAGS}"
  "-DCMAKE_EXE_LINKER_FLAGS=${LINK_FLAGS}")
run("${CMAKE_COMMAND}" --build "${FOLDER}/build" -j2 --target hello)
run("${FOLDER}/build/hello" "${MODULE}")
if(NOT output STREQUAL "golden: y[2][3] = 152\n")
  message(FATAL_ERROR "unexpected output: ${output}")
endif()
