@echo off
rem Starts mp3restore on Windows. The first start makes the environment in .venv beside this file.
rem No delayed expansion and no blocks in parentheses: paths and arguments may hold ! ( ) and &.
setlocal DisableDelayedExpansion
rem Nothing that lies in the current folder is run: neither programs nor (-P) modules of Python. It may hold anything.
set "NoDefaultCurrentDirectoryInExePath=1"
set "HERE=%~dp0"
set "PY=%HERE%.venv\Scripts\python.exe"
chcp 65001 >nul 2>nul
set "PYTHONUTF8=1"
if exist "%HERE%.venv\.ready" goto start

echo Setting up mp3restore, once; this takes about a minute.
set "BASE=python"
where $PATH:py >nul 2>nul && set "BASE=py -3"
%BASE% -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul
if errorlevel 1 goto nopython
%BASE% -P -m venv "%HERE%.venv"
if errorlevel 1 goto failed
"%PY%" -P -m pip install --quiet --disable-pip-version-check --editable "%HERE%."
if errorlevel 1 goto failed
echo ready>"%HERE%.venv\.ready"

:start
"%PY%" -P -m tui %*
exit /b %errorlevel%

:nopython
echo mp3restore needs Python 3.11 or newer: install it from python.org or the Microsoft Store, then run this again.
exit /b 2

:failed
echo Setting up failed; the lines above say why. Remove the folder .venv and run this again.
exit /b 2
