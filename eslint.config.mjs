// What the linter holds every file to: the style rules of CONTRIBUTING.md that a machine can judge.

import tseslint from 'typescript-eslint';

/** Syntax that the house does without. */
const withoutSyntax = [
  { selector: 'TSEnumDeclaration', message: 'Use a union of literals instead of an enum.' },
  { selector: 'ExportDefaultDeclaration', message: 'Export by name.' },
  { selector: 'ExportAllDeclaration', message: 'No barrels: import from the file that owns the thing.' },
  { selector: 'TSParameterProperty', message: 'Declare the field and assign it.' },
  { selector: 'TSModuleDeclaration[kind="namespace"]', message: 'Use a file instead of a namespace.' },
];

/** Above the engine things may be awaited; inside it they may not. */
const withoutAsync = [
  { selector: ':function[async=true]', message: 'The engine is synchronous: a long work is a generator of steps.' },
  { selector: 'AwaitExpression', message: 'The engine is synchronous: a long work is a generator of steps.' },
];

export default tseslint.config(
  { ignores: ['node_modules/', 'data/', 'coverage/', 'openapi/openapi.json', 'docs/'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      'eqeqeq': 'error',
      'no-console': 'error',
      'no-else-return': ['error', { allowElseIf: false }],
      'no-lonely-if': 'error',
      'no-param-reassign': 'error',
      'no-useless-rename': 'error',
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'no-restricted-syntax': ['error', ...withoutSyntax],
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      '@typescript-eslint/explicit-member-accessibility': ['error', { accessibility: 'no-public' }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-generated-empty-object-type': 'off',
      '@typescript-eslint/no-shadow': 'error',
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/prefer-readonly': 'error',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, allowDefaultCaseForExhaustiveSwitch: true },
      ],
      // node:test hands back promises that the runner itself awaits.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            {
              from: 'package',
              package: 'node:test',
              name: ['test', 'it', 'describe', 'suite', 'before', 'after', 'beforeEach', 'afterEach'],
            },
          ],
        },
      ],
    },
  },
  {
    files: ['src/engine/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', ...withoutSyntax, ...withoutAsync] },
  },
  {
    // What a person starts in a terminal talks to that person.
    files: ['bench/**/*.ts', 'openapi/**/*.ts', 'test/**/*.ts'],
    rules: { 'no-console': 'off' },
  },
);
