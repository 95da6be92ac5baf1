// Lint rules. What makes this project's rules particular: the data path is guarded by banned syntax, not by review.
import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Syntax that allocates or calls out once per frame. Applies to the rings. */
const perFrameBans = [
  { selector: 'ForOfStatement', message: 'for-of allocates an iterator: index instead' },
  { selector: 'SpreadElement', message: 'spread allocates' },
  {
    selector: 'TemplateLiteral[expressions.length>0]:not(ThrowStatement TemplateLiteral)',
    message: 'a template string allocates',
  },
  { selector: 'AwaitExpression', message: 'the data path is synchronous' },
  { selector: 'BigIntLiteral', message: 'BigInt allocates' },
  { selector: 'TryStatement', message: 'a peer fault is a status, not an exception' },
];

export default tseslint.config(
  { ignores: ['**/dist/', '**/node_modules/', '.cache/', '.tap/', 'results/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      eqeqeq: 'error',
      'no-console': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'use a const object: enums are not erasable' },
      ],
    },
  },
  {
    // Time and chance are arguments (CONTRIBUTING.md, rule 9): only the clock folder reads them.
    files: ['shared/*/src/**/*.ts', 'services/*/src/**/data/**/*.ts'],
    ignores: ['shared/base/src/{clock,http}/**', 'shared/service/src/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'use clock/rng.ts: runs are repeatable' },
        { object: 'Date', property: 'now', message: 'use a Clock' },
        { object: 'performance', property: 'now', message: 'use a Clock' },
      ],
    },
  },
  {
    files: [
      'shared/xen/src/{ring,nicq}/**/*.ts',
      'shared/xen/src/grant/grant-table.ts',
      'shared/xen/src/evtchn/event-page.ts',
    ],
    rules: { 'no-restricted-syntax': ['error', ...perFrameBans] },
  },
  {
    files: ['**/*.test.ts'],
    rules: { '@typescript-eslint/no-floating-promises': 'off', '@typescript-eslint/no-misused-promises': 'off' },
  },
  {
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        Buffer: 'readonly',
        setTimeout: 'readonly',
        URL: 'readonly',
        fetch: 'readonly',
      },
    },
  },
);
