@echo off
rem Starts mp3restore on Windows. The first start makes the environment in .venv beside this file; when an update has
rem changed what the program needs (pyproject.toml, of which .venv\.ready is a copy), the environment is renewed.
rem No delayed expansion and no blocks in parentheses: paths and arguments may hold ! ( ) and &.
setlocal DisableDelayedExpansion
set "HERE=%~dp0"
set "PY=%HERE%.venv\Scripts\python.exe"
rem What lies in the current folder (music, say) is never taken for a program, nor (-P) for a module of Python.
set "NoDefaultCurrentDirectoryInExePath=1"
chcp 65001 >nul 2>nul
set "PYTHONUTF8=1"
rem While setting up, without the tools' words to packagers, which alarm everybody else.
set "PYTHONWARNINGS=ignore"
if not exist "%PY%" goto create
if not exist "%HERE%.venv\.ready" goto create
"%SystemRoot%\System32\fc.exe" /b "%HERE%pyproject.toml" "%HERE%.venv\.ready" >nul 2>nul
if not errorlevel 1 goto start

echo mp3restore was updated: renewing its environment. PyTorch and models stay.
"%PY%" -P -m pip install --quiet --disable-pip-version-check --editable "%HERE%."
if errorlevel 1 goto stale
goto ready

:create
echo Setting up mp3restore, once; this takes about a minute.
set "BASE=python"
where $PATH:py >nul 2>nul && set "BASE=py -3"
%BASE% -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul
if errorlevel 1 goto nopython
%BASE% -P -m venv "%HERE%.venv"
if errorlevel 1 goto failed
"%PY%" -P -m pip install --quiet --disable-pip-version-check --editable "%HERE%."
if errorlevel 1 goto failed

:ready
copy /b /y "%HERE%pyproject.toml" "%HERE%.venv\.ready" >nul

:start
set "PYTHONWARNINGS="
"%PY%" -P -m tui %*
exit /b %errorlevel%

:stale
echo The environment could not be renewed (the lines above say why). It is tried again at the next start.
goto start

:nopython
echo mp3restore needs Python 3.11 or newer: install it from python.org or the Microsoft Store, then run this again.
exit /b 2

:failed
echo Setting up failed; the lines above say why. Remove the folder .venv and run this again.
exit /b 2
