/** `npm run test:asan`: the native tests with AddressSanitizer and UndefinedBehaviorSanitizer, from a build of their own (build/Asan). */
import { execFileSync } from 'node:child_process'
import { explain, prepare } from './prepare.mjs'
import { runTests, testFiles } from './test.mjs'

/** The compiler's own copy of a runtime library; Node itself is not built with the sanitizers, so they must be loaded before it. */
function runtimeLibrary(name) {
  return execFileSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim()
}

prepare({ kind: 'Asan', tests: true })
  .then((env) =>
    runTests(testFiles(['native', 'lib']), {
      ...env,
      TORCHKEEP_BUILD: 'Asan',
      LD_PRELOAD: `${runtimeLibrary('libasan.so')} ${runtimeLibrary('libstdc++.so')}`,
      ASAN_OPTIONS: 'detect_leaks=0', // Node keeps memory until it exits
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    }),
  )
  .catch(explain)
