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

string(TOUPPER "${TYPE}" UPPER_TYPE)
file(REMOVE_RECURSE "${FOLDER}/build" "${FOLDER}/prefix")
if(MODE STREQUAL "installed")
  run("${CMAKE_COMMAND}" --install "${QUERN_BUILD}" --component runtime
    --prefix "${FOLDER}/prefix")
  # A sanitized library asks for a program with the same flags.
  set(where "-DCMAKE_PREFIX_PATH=${FOLDER}/prefix"
    "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
else()
  # Built as the library at hand was: what would be the same object is taken
  # from there.
  set(where "-DQUERN_SOURCE=${QUERN_SOURCE}" "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
  if(PYTHON)
    file(WRITE "${FOLDER}/launch" "#!/bin/sh\n"
      "exec '${PYTHON}' '${CMAKE_CURRENT_LIST_DIR}/reuse_object.py' "
      "'${QUERN_BUILD}' '${FOLDER}/build/quern' ${LAUNCHER} \"$@\"\n")
    file(CHMOD "${FOLDER}/launch" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
    set(LAUNCHER "${FOLDER}/launch")
  endif()
endif()
run("${CMAKE_COMMAND}" -G "${GENERATOR}" -S "${CMAKE_CURRENT_LIST_DIR}/project"
  -B "${FOLDER}/build" ${where}
  "-DCMAKE_BUILD_TYPE=${TYPE}" "-DCMAKE_CXX_FLAGS_${UPPER_TYPE}=${TYPE_FLAGS}"
  "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_C_COMPILER=${CC}"
  "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}"
  "-DCMAKE_SHARED_LINKER_FLAGS=${LINK_FLAGS}"
  "-DCMAKE_EXE_LINKER_FLAGS=${LINK_FLAGS}")
run("${CMAKE_COMMAND}" --build "${FOLDER}/build" -j2 --target hello)
run("${FOLDER}/build/hello" "${MODULE}")
if(NOT output STREQUAL "golden: y[2][3] = 152\n")
  message(FATAL_ERROR "unexpected output: ${output}")
endif()
