"""What a project keeps: tables in one database, artefacts as sealed folders of files."""
