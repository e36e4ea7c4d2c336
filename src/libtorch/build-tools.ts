/** What building the addon needs from the system: CMake, something that CMake drives, a C++20 compiler. */
import { runProcess, tailOf } from './run-process.js'

/** One tool: its version, or what is wrong and how to mend it. */
export interface BuildTool {
  tool: 'cmake' | 'make or ninja' | 'C++20 compiler'
  /** First line of its `--version`; null when it cannot be used. */
  version: string | null
  /** Null when all is well. */
  problem: string | null
  /** Names the Debian packages. */
  mend: string | null
}

/** Uses coroutines' and concepts' headers, so that a compiler that only knows the flag is told from one that has the library. */
const cxx20Program =
  '#include <concepts>\n#include <span>\ntemplate <std::integral T> T twice(T x) { return 2 * x; }\nint main() { return twice(0); }\n'

/** Tries each tool. */
export async function findBuildTools(env: NodeJS.ProcessEnv = process.env): Promise<BuildTool[]> {
  return Promise.all([
    findFirst('cmake', ['cmake'], 'sudo apt-get install cmake', env),
    process.platform === 'win32'
      ? { tool: 'make or ninja' as const, version: 'Visual Studio', problem: null, mend: null }
      : findFirst('make or ninja', ['ninja', 'make', 'gmake'], 'sudo apt-get install build-essential', env),
    findCompiler(env),
  ])
}

async function findFirst(
  tool: BuildTool['tool'],
  commands: readonly string[],
  mend: string,
  env: NodeJS.ProcessEnv,
): Promise<BuildTool> {
  for (const command of commands) {
    const result = await runProcess(command, ['--version'], { env })
    if (result.status === 0) return { tool, version: firstLine(result.stdout), problem: null, mend: null }
  }
  return {
    tool,
    version: null,
    problem: `not found (tried ${commands.join(', ')})`,
    mend: `On Debian or Ubuntu: ${mend}`,
  }
}

async function findCompiler(env: NodeJS.ProcessEnv): Promise<BuildTool> {
  const tool = 'C++20 compiler'
  if (process.platform === 'win32') return { tool, version: 'left to CMake (Visual Studio)', problem: null, mend: null }
  const mend = 'On Debian or Ubuntu: sudo apt-get install build-essential (g++ 10 or newer; CXX names another)'
  const commands = env['CXX'] ? [env['CXX']] : ['c++', 'g++', 'clang++']
  for (const command of commands) {
    const asked = await runProcess(command, ['--version'], { env })
    if (asked.status !== 0) continue
    const tried = await runProcess(command, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], {
      env,
      stdin: cxx20Program,
    })
    if (tried.status === 0) return { tool, version: firstLine(asked.stdout), problem: null, mend: null }
    return {
      tool,
      version: null,
      problem: `${firstLine(asked.stdout)} does not compile C++20: ${tailOf(tried.stderr, 3)}`,
      mend,
    }
  }
  return { tool, version: null, problem: `not found (tried ${commands.join(', ')})`, mend }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? ''
}
