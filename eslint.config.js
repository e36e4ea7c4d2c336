import tseslint from 'typescript-eslint'

/** Each layer imports only from its left neighbour: native <- lib <- src <- commands; src/format is a leaf that lib and src may import. */
function layer(files, forbidden) {
  const patterns = forbidden.map(([regex, message]) => ({ regex, message, allowTypeImports: false }))
  return { files, rules: { '@typescript-eslint/no-restricted-imports': ['error', { patterns }] } }
}

const addon = ['^bindings$|\\.node$', 'Only lib/native.ts loads the addon.']
const commands = ['(^|/)commands/', 'commands/ is the outermost layer; nothing imports it.']
const lib = ['^(\\.\\./)+lib/', 'This part works without LibTorch, so it must not import lib.']

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'node_modules/', 'checkpoints/'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  {
    rules: {
      eqeqeq: ['error', 'always'],
      'no-empty': ['error', { allowEmptyCatch: false }],
      'max-lines': ['error', { max: 400, skipBlankLines: false, skipComments: false }],
    },
  },
  layer(['src/**/*.ts'], [addon, commands]),
  layer(
    ['src/checkpoint/**/*.ts', 'src/libtorch/**/*.ts', 'src/command-line/**/*.ts', 'src/doctor/**/*.ts'],
    [addon, commands, lib],
  ),
  layer(['src/doctor/probe-addon.ts', 'src/doctor/self-test.ts'], [addon, commands]), // programs for child processes
  // Weights are exported without LibTorch: what runs a model is imported when one is to be run.
  layer(['src/export/**/*.ts'], [addon, commands, lib, ['/(training|inference|train-config)/', lib[1]]]),
  layer(['src/export/*-with-libtorch.ts'], [addon, commands]),
  layer(
    ['src/format/**/*.ts'],
    [
      addon,
      ['(^|/)(lib|src|commands|checkpoint|training|libtorch|command-line)/', 'src/format imports nothing of ours.'],
    ],
  ),
  layer(['lib/**/*.ts'], [['/src/(?!format/)', 'lib may import src/format only.'], commands]),
  layer(['commands/**/*.ts'], [addon, ['^(\\.\\./)+(lib|native)/', 'Commands call src only.']]),
  { files: ['test/**/*.ts'], rules: { '@typescript-eslint/no-unused-expressions': 'off' } },
  { files: ['**/*.cjs'], rules: { '@typescript-eslint/no-require-imports': 'off' } },
)
